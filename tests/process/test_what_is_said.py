"""Whoever reads a card or its transcript is told what happened to the work and what comes next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGSTOP

import pytest

from tests.process.board import Board, Card, Project, board_in
from tests.process.server import ROOT, until
from tests.process.test_requests import open_request

pytestmark = pytest.mark.both_databases


def said_by_the_server(board: Board, card: Card) -> list[str]:
    return [m["content"] for m in board.assert_gapless(card) if m["type"] == "status"]


def test_a_transcript_says_who_stopped_the_agent_and_what_was_left_unanswered(board: Board) -> None:
    card = board.work(board.make_project(permissionMode="ask"), "[ask-permission Deploy]")
    open_request(board, card)
    for _ in range(2):
        board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")
    assert said_by_the_server(board, card) == [
        "Alice stopped the agent.",
        "“Deploy” was not answered: the work that asked it was ended.",
    ]


def test_a_transcript_says_who_moved_the_card_away_from_its_agent(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say one] [sleep 60]")
    board.wait_said(card, "one")
    board.move(card, "Done")
    board.wait_status(card, "cancelled")
    [said] = said_by_the_server(board, card)
    assert said == "Alice moved the card to “Done”, which ends this work."


def test_a_transcript_says_whose_message_ended_a_turn(board: Board, project: Project) -> None:
    card = board.work(project, "[say one] [sleep 60]")
    board.wait_said(card, "one")
    urgent = board.api.post(f"{card.url}/agent/message", {"content": "[say two]"})
    for _ in range(2):
        board.api.post(f"{card.url}/agent/messages/{urgent['id']}/send-now")
    board.finish(card)
    [said] = said_by_the_server(board, card)
    assert said == "Alice had a message sent at once, which ends the turn under way."


def doctor(board: Board) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        env=board.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_work_of_a_silent_worker_says_so_and_then_how_often_it_was_begun(tmp_path: Path) -> None:
    with board_in(tmp_path) as board:
        card = board.work(board.make_project(), "[resumable] [say one] [sleep 20] [say two]")
        board.wait_said(card, "one")
        stopped = board.work(card.project, "[say one] [sleep 20]")
        board.wait_said(stopped, "one")
        assert board.session(card)["statusText"] is None
        frozen = board.kill("worker", SIGSTOP)
        until(
            lambda: "no sign of life" in (board.session(card)["statusText"] or ""),
            timeout=15,
            what="the silence's being told",
        )
        assert board.session(card)["status"] == "running"
        board.api.post(f"{stopped.url}/agent/cancel")
        assert board.session(stopped)["statusText"].startswith("Is being stopped")
        assert f"process {frozen} is there, but gives no sign of life" in doctor(board)
        with board.watch(card.project) as watch:
            os.kill(frozen, 9)
            told = {
                status: watch.wait(
                    lambda frame: (
                        frame["type"] == "agent.status" and frame["data"]["status"] == status  # noqa: B023
                    ),
                    timeout=30,
                    what=status,
                )["data"]["statusText"]
                for status in ("interrupted", "starting", "running")
            }
        assert "died; the work is taken up by itself" in told["interrupted"]
        assert told["starting"] == (
            "The worker that ran it died; the agent is started again to finish the work"
            " (attempt 2 of 6)."
        )
        assert told["running"] is None
