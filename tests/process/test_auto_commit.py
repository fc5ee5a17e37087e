"""Projects whose agents' work is committed at the end of each turn (X4)."""

from __future__ import annotations

import time

import pytest

from tests.process.board import Board, Card, Project
from tests.process.repository import git


@pytest.fixture
def committing(board: Board) -> Project:
    return board.make_project(autoCommit=True)


def log(board: Board, card: Card) -> list[str]:
    base = git(board.worktree(card), "rev-list", "--max-parents=0", "HEAD").strip()
    shown = git(board.worktree(card), "log", "--format=%an%n%B%x00", f"{base}..HEAD")
    return [each.strip() for each in shown.split("\0")[:-1]]


def said(board: Board, card: Card) -> list[str]:
    return [each["content"] for each in board.messages(card) if each["role"] == "system"]


def test_what_a_turn_leaves_is_committed_in_the_cards_words(
    board: Board, committing: Project
) -> None:
    card = board.work(committing, "[tool write new.txt hello]", title="Say hello")
    board.finish(card)
    [commit] = log(board, card)
    session = board.session(card)["sessionId"]
    author, title, _, *trailers = commit.splitlines()
    assert (author, title) == ("Alice", "Say hello")
    assert trailers[:2] == [f"Kanban-Card: {card.id}", f"Kanban-Session: {session}"]
    assert trailers[2].startswith("Kanban-Turn: ")
    assert git(board.worktree(card), "status", "--porcelain") == ""
    assert any("committed as" in each for each in said(board, card))
    assert "new.txt" in board.api.get(f"{card.url}/diff")["diff"]
    # A turn that changes nothing commits nothing, the next one that does is a commit of its own.
    for prompt in ("[say nothing]", "[tool write new.txt again]"):
        board.api.post(f"{card.url}/agent/message", {"content": prompt})
        board.finish(card)
    assert len(log(board, card)) == 2


def test_without_the_setting_or_a_worktree_nothing_is_committed(board: Board) -> None:
    for settings in ({}, {"autoCommit": True, "worktree": False}):
        project = board.make_project(**settings)
        card = board.work(project, "[tool write new.txt hello]")
        board.finish(card)
        place = board.worktree(card) if not settings else project.path
        assert "new.txt" in git(place, "status", "--porcelain")


def test_a_commit_that_fails_is_told_and_the_card_goes_on(
    board: Board, committing: Project
) -> None:
    card = board.work(
        committing, "[tool run touch $(git rev-parse --git-dir)/MERGE_HEAD] [tool write a.txt a]"
    )
    board.finish(card)
    assert log(board, card) == []
    assert any("in the middle of a merge" in each for each in said(board, card))


def test_a_worker_that_dies_as_it_commits_commits_everything_once(
    board: Board, committing: Project
) -> None:
    slow = (
        "[tool run printf '*.txt filter=slow' > .gitattributes;"
        " git config filter.slow.clean 'sleep 2; cat']"
    )
    card = board.work(committing, f"{slow} [tool write new.txt hello] [say done]")
    board.wait_said(card, "done")
    time.sleep(1)
    board.kill("worker")
    board.finish(card, timeout=60)
    assert git(board.worktree(card), "status", "--porcelain") == ""
    assert len(log(board, card)) == 1
