"""Sessions that take their worker with them, told from those that only happened to be there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.faults.conftest import Ground
from tests.process.board import Board, Card
from tests.process.server import until

# The agent's parent is the worker.
KILL_WORKER = '[shell kill -9 $(cut -d" " -f4 /proc/$PPID/stat)] [sleep 60]'
MOST_RESUMES = 5


@pytest.fixture
def board(ground: Ground) -> Iterator[Board]:
    with ground.board(KANBAN_MAX_AGENTS="10") as running:
        yield running


def crash_loop(board: Board, card: Card) -> Any:
    session = board.wait_status(card, "failed", timeout=120)
    assert session["error"]["code"] == "crash_loop"
    assert "log" in session["error"]["message"]
    assert board.get(card)["agentStatus"] == "failed"
    board.assert_gapless(card)
    return session


@pytest.mark.long
def test_a_session_that_kills_its_worker_is_given_up_and_the_others_go_on(board: Board) -> None:
    project = board.make_project()
    work = (
        "[resumable] [say one] [tool append log.txt a] [sleep 4] [tool append log.txt b] [say end]"
    )
    innocent = [board.work(project, work) for _ in range(3)]
    for card in innocent:
        board.wait_said(card, "one")
    poison = board.work(project, f"[say I begin] {KILL_WORKER}")
    seen = set[str]()

    def ended() -> bool:
        seen.update(board.session(card)["queueReason"] or "" for card in innocent)
        return bool(board.session(poison)["status"] == "failed")

    until(ended, timeout=120, what="the end of the poisonous session", every=0.2)
    crash_loop(board, poison)
    assert "resuming_one_by_one" in seen
    # Sent once, resumed five times.
    assert len(board.prompts(poison)) == 1 + MOST_RESUMES
    for card in innocent:
        board.finish(card, timeout=60)
        assert (board.worktree(card) / "log.txt").read_text().split() == ["a", "b"]
        # Only the first two deaths hit everybody: after those the poison goes first.
        assert len(board.prompts(card)) <= 3
        board.assert_gapless(card)
    starts = sorted(
        datetime.fromisoformat(board.session(card)["startedAt"]).timestamp() for card in innocent
    )
    assert all(later - earlier > 4 for earlier, later in itertools.pairwise(starts)), starts

    board.api.post(f"{poison.url}/agent/message", {"content": "[say alive]"})
    board.finish(poison, timeout=30)
    assert board.texts(poison)[-1] == "alive"


@pytest.mark.long
def test_orderly_stops_in_the_middle_of_a_turn_are_no_crashes(board: Board) -> None:
    work = "[resumable] [say one] [sleep 2] [say two]"
    cards = [board.work(board.make_project(), work) for _ in range(2)]
    for stops in range(1, MOST_RESUMES + 3):
        until(
            lambda: all(len(board.prompts(card)) == stops for card in cards),  # noqa: B023
            timeout=60,
            what=f"resume {stops}",
        )
        assert board.terminate() < 10
        board.wait_gone(timeout=2)
        board.start()
    for card in cards:
        session = board.finish(card, timeout=60)
        assert session["queueReason"] is None
        board.assert_gapless(card)


@pytest.mark.long
def test_an_agent_that_kills_the_worker_while_it_starts_is_given_up(board: Board) -> None:
    card = board.work(board.make_project("kills-worker"), "[say never]")
    crash_loop(board, card)


@pytest.mark.long
def test_a_follow_up_whose_agent_kills_the_worker_while_it_starts_is_given_up(board: Board) -> None:
    project = board.make_project()
    card = board.work(project, "[say hi]")
    board.finish(card)
    board.api.patch(f"/projects/{project.id}", {"agent": "kills-worker"})
    board.api.post(f"{card.url}/agent/message", {"content": "[say never]"})
    until(lambda: board.session(card)["status"] == "failed", timeout=120, what="the end")
    crash_loop(board, card)
    assert [each["content"] for each in board.messages(card) if each["role"] == "user"][1:] == [
        "[say never]"
    ]


@pytest.mark.long
def test_a_hand_over_is_given_by_the_process_after_the_one_that_died_before_it(
    board: Board,
) -> None:
    card = board.work(
        board.make_project("with-modes"),
        "[no-load] [say The plan is blue.] [kill-worker-at-next-mode] [sleep 3]",
    )
    board.wait_said(card, "The plan is blue.")
    time.sleep(0.5)
    board.kill("worker")
    until(lambda: len(board.prompts(card)) == 2, timeout=60, what="the resumed prompt")
    # One process for the first prompt, one that died between its new conversation and the prompt, one more.
    assert len(board.notes("starts")) == 3
    assert "The plan is blue." in board.prompts(card)[1]
    assert len(board.conversations(card)) == 2
    assert "can't be opened any more" in board.prompts(card)[1]
    said = [each["content"] for each in board.messages(card) if each["role"] == "system"]
    assert sum("could not open its earlier conversation" in each for each in said) == 1
    # Given once: the next prompt in the same conversation is as it was posted.
    board.api.post(f"{card.url}/agent/message", {"content": "[say and then]"})
    board.finish(card)
    assert board.prompts(card)[-1] == "[say and then]"
