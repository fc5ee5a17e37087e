"""Limits with a queue that people can see."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator

import pytest

from tests.process.board import Board, board_in
from tests.process.server import until


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board_in(tmp_path_factory.mktemp("queue"), KANBAN_MAX_AGENTS="1") as running:
        yield running


def test_a_card_over_the_servers_limit_is_queued_with_reason_and_place_and_starts_in_turn(
    board: Board,
) -> None:
    project = board.make_project()
    first = board.work(project, "[say one] [sleep 60]")
    board.wait_said(first, "one")
    second, third = (board.work(project, "[sleep 0.5] [say done]") for _ in range(2))
    until(lambda: board.session(second)["queueReason"] is not None, what="a reason")
    waiting = board.session(second)
    assert waiting["queueReason"]
    assert waiting["queuePosition"] == 1
    assert board.session(third)["queuePosition"] == 2
    active = board.api.get(f"/projects/{project.id}/active-agents")
    assert {each["cardId"] for each in active} == {first.id, second.id, third.id}

    board.api.post(f"{first.url}/agent/cancel")
    board.wait_status(second, "running", timeout=5)
    assert board.session(third)["status"] == "queued"
    assert board.session(third)["queuePosition"] == 1
    board.finish(third)
    assert len(board.notes("starts")) == 3


def test_a_projects_own_limit_holds_too(board: Board) -> None:
    project = board.make_project(maxParallelAgents=1)
    cards = [board.work(project, "[sleep 0.3] [say done]") for _ in range(2)]
    for card in cards:
        board.finish(card)


def test_a_queued_card_that_is_moved_away_is_cancelled_and_never_starts(board: Board) -> None:
    project = board.make_project()
    first = board.work(project, "[say one] [sleep 60]")
    board.wait_said(first, "one")
    second = board.work(project, "[say never]")
    board.wait_status(second, "queued")
    board.move(second, "Backlog")
    board.wait_status(second, "cancelled")
    board.api.post(f"{first.url}/agent/cancel")
    board.wait_status(first, "cancelled")
    third = board.work(project, "[say third]")
    board.finish(third)
    assert not any("never" in str(note["text"]) for note in board.notes("prompts"))


def test_a_worktree_that_somebody_else_has_in_hand_is_waited_for(board: Board) -> None:
    project = board.make_project()
    card = board.card(project, "[say hello]")
    locks = board.data / "locks"
    locks.mkdir(exist_ok=True, mode=0o700)
    with (locks / f"card-{int(card.id.removeprefix('card_'))}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        board.move(card)
        until(
            lambda: board.session(card)["queueReason"] == "worktree_busy",
            timeout=30,
            what="its being put off",
        )
        session = board.session(card)
        assert session["status"] == "queued"
        assert "tried again" in session["statusText"]
    board.finish(card, timeout=30)
    assert board.texts(card) == ["hello"]
