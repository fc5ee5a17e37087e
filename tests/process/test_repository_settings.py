"""What a repository says of its project by the time that a card starts (X4)."""

from __future__ import annotations

from pathlib import Path

from tests.process.board import Board, Card, Project
from tests.process.repository import git


def push(project: Project, settings: str) -> None:
    (project.path / ".kanban.toml").write_text(settings)
    git(project.path, "add", ".kanban.toml")
    git(project.path, "commit", "-q", "-m", "Settings")


def place_of(board: Board, project: Project, card: Card) -> Path:
    """Where the agent of a card that has finished has left its file."""
    places = (project.path, board.worktree(card))
    [found] = [each for each in places if (each / f"{card.id}.txt").exists()]
    return found


def finished(board: Board, project: Project) -> Card:
    card = board.card(project, "")
    board.api.patch(card.url, {"prompt": f"[tool write {card.id}.txt x]"})
    board.move(card)
    board.finish(card)
    return card


def test_where_agents_work_by_the_repositorys_word_counts_from_the_next_start(
    board: Board, project: Project
) -> None:
    push(project, "worktree = false\n")
    first, second = finished(board, project), finished(board, project)
    assert place_of(board, project, first) == board.worktree(first)
    assert place_of(board, project, second) == project.path
    push(project, "")
    finished(board, project)
    last = finished(board, project)
    assert place_of(board, project, last) == board.worktree(last)


def test_while_others_are_at_work_it_is_put_off_and_the_card_says_so(
    board: Board, project: Project
) -> None:
    other = board.work(project, "[say one] [sleep 60]")
    board.wait_said(other, "one")
    push(project, "worktree = false\n")
    meanwhile = finished(board, project)
    assert place_of(board, project, meanwhile) == board.worktree(meanwhile)
    said = [each["content"] for each in board.messages(meanwhile) if each["role"] == "system"]
    assert [each for each in said if ".kanban.toml" in each and "at work" in each]
    board.api.post(f"{other.url}/agent/cancel")
    board.wait_status(other, "cancelled")
    finished(board, project)
    afterwards = finished(board, project)
    assert place_of(board, project, afterwards) == project.path
