from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil
import pytest

from tests.process.board import Board, Card, Project
from tests.process.server import until


def grows(path: Path) -> bool:
    before = path.stat().st_size
    time.sleep(0.3)
    return path.stat().st_size > before


def cancel(board: Board, card: Card) -> float:
    began = time.monotonic()
    board.api.post(f"{card.url}/agent/cancel")
    assert time.monotonic() - began < 0.5
    board.wait_status(card, "cancelled", timeout=5)
    return time.monotonic() - began


def agents_in(board: Board, card: Card) -> list[psutil.Process]:
    found = []
    for each in board.agents():
        with contextlib.suppress(psutil.Error):
            if each.cwd() == str(board.worktree(card)):
                found.append(each)
    return found


pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize(
    "prompt",
    [
        "[say one] [sleep 60]",
        "[say one] [tool run sleep 61]",
        "[say one] [ignore-cancel] [sleep 60]",
        "[say one] [ignore-cancel] [tool run sleep 61]",
        "[say one] [never-answer]",
    ],
)
def test_a_cancelled_agent_and_its_children_are_gone_within_two_seconds(
    board: Board, project: Project, prompt: str
) -> None:
    card = board.work(project, prompt + " [say two]")
    board.wait_said(card, "one")
    ticking = board.worktree(card) / "ticks"
    assert cancel(board, card) < 2.2
    until(lambda: not agents_in(board, card), timeout=1, what="the end of its processes")
    assert not ticking.exists()
    assert "two" not in board.texts(card)
    board.assert_gapless(card)
    session = board.session(card)
    assert session["statusText"] is None
    until(
        lambda: f"{session['sessionId']} of {card.id} is cancelled" in board.log(100_000),
        what="a line in the log",
    )


def test_a_detached_grandchild_dies_with_the_cancel(board: Board, project: Project) -> None:
    card = board.work(project, "[ignore-cancel] [grandchild ticks] [sleep 60]")
    ticks = board.worktree(card) / "ticks"
    until(ticks.exists, what="the grandchild's file")
    assert grows(ticks)
    assert cancel(board, card) < 2.2
    until(lambda: not grows(ticks), timeout=1, what="the end of the grandchild")


def test_a_grandchild_does_not_outlive_a_turn_that_ended_by_itself(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[grandchild ticks] [sleep 0.3]")
    board.finish(card)
    ticks = board.worktree(card) / "ticks"
    until(lambda: not grows(ticks), timeout=3, what="the grandchild's end")


def test_cancel_with_nothing_running_is_no_error(board: Board, project: Project) -> None:
    card = board.card(project, "[say hi]")
    board.api.post(f"{card.url}/agent/cancel")
    board.move(card)
    board.finish(card)
    board.api.post(f"{card.url}/agent/cancel")
    assert board.session(card)["status"] == "completed"


def test_the_last_words_of_a_cancelled_turn_are_kept(board: Board, project: Project) -> None:
    card = board.work(project, "[say the last words] [sleep 60]")
    board.wait_said(card, "the last words")
    cancel(board, card)
    assert board.texts(card) == ["the last words"]


def test_a_cancelled_card_goes_on_with_a_message_in_the_same_conversation(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say one] [sleep 60]")
    board.wait_said(card, "one")
    first = board.session(card)["sessionId"]
    cancel(board, card)
    board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
    assert board.finish(card)["sessionId"] == first
    assert board.texts(card) == ["one", "two"]
    assert len(board.conversations(card)) == 1
