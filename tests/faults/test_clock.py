"""The wall clock steps by hours and days, forwards and back, as after a suspend or by NTP."""

from __future__ import annotations

import contextlib
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kanban_agents.servers import PING_EVERY
from tests.faults import clock as clocks
from tests.faults.clock import DAY, HOUR, Clock
from tests.faults.conftest import Ground
from tests.faults.findings import failing
from tests.faults.rounds import share
from tests.process.board import PASSWORD, Board, board_in
from tests.process.client import Client
from tests.process.server import until

CREDENTIALS = {"email": "alice@example.com", "password": PASSWORD}
PING = b"\x89"
STEPS = (2 * HOUR, 0, -2 * HOUR, DAY, -DAY, 0)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if reason := clocks.why_not():
        pytest.skip(reason)
    return Clock(tmp_path)


def server_time(board: Board) -> float:
    """By the web process's clock, from what it stores."""
    project = board.api.post("/projects", {"name": "t", "path": str(board.make_repository())})
    text = project["createdAt"].replace("Z", "+00:00")
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def sign_in(client: Client) -> str:
    token: str = client.post("/auth/login", CREDENTIALS)["token"]
    return token


@pytest.mark.long
def test_a_clock_that_steps_kills_nobody_loses_nothing_and_signs_nobody_out(
    ground: Ground, clock: Clock
) -> None:
    with ground.board(KANBAN_MAX_AGENTS="2", **clock.environment) as board:
        project = board.make_project()
        pids = {role: board.pid(role) for role in ("web", "worker")}
        cards = []
        client = Client(board.port)
        with contextlib.closing(client), board.watch(project) as watch:
            for step in STEPS * share(3):
                cards += [
                    board.work(project, f"[say one] [lines 20/s for 3 s] [say {number}]")
                    for number in range(2)
                ]
                clock.move(step)
                time.sleep(4)
                until(lambda: not failing(board), timeout=15, what=f"health after {step} s")
                assert {role: board.pid(role) for role in pids} == pids
                client.token = sign_in(client)
                assert client.get("/projects")
            for card in cards:
                session = board.finish(card, timeout=60)
                messages = board.assert_gapless(card)
                titles = [each["content"] for each in messages if each["type"] == "tool_call"]
                assert titles == [f"line {number}" for number in range(60)]
                assert len(board.prompts(card)) == 1
                watch.status(session["sessionId"], "completed")
            seqs = watch.seqs()
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert "is dead" not in board.log(1_000_000)
        assert not board.notes("overlaps")


def test_a_clock_that_is_set_back_changes_nothing_about_whose_turn_it_is(
    ground: Ground, clock: Clock
) -> None:
    with ground.board(KANBAN_MAX_AGENTS="1", **clock.environment) as board:
        project = board.make_project()
        running = board.work(project, "[say one] [sleep 60]")
        board.wait_said(running, "one")
        cards = []
        for back in (0, -2 * HOUR, -DAY):
            clock.move(back)
            cards.append(board.work(project, "[sleep 1] [say end]"))
        assert [board.session(card)["queuePosition"] for card in cards] == [1, 2, 3]
        board.api.post(f"{running.url}/agent/cancel")
        board.wait_status(cards[0], "running")
        assert [board.session(card)["queuePosition"] for card in cards[1:]] == [1, 2]


def test_the_clock_is_really_moved(ground: Ground, clock: Clock) -> None:
    with ground.board(**clock.environment) as board:
        for step in (2 * HOUR, -DAY):
            clock.move(step)
            assert abs(server_time(board) - time.time() - step) < 60


def test_sockets_are_still_pinged_after_the_clock_was_set_back(
    tmp_path: Path, clock: Clock
) -> None:
    with (
        board_in(tmp_path / "board", **clock.environment) as board,
        socket.create_connection(("127.0.0.1", board.port), timeout=PING_EVERY + 15) as raw,
    ):
        request = [
            f"GET /api/ws?token={board.api.token} HTTP/1.1",
            f"Host: 127.0.0.1:{board.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ]
        raw.sendall("\r\n".join([*request, "", ""]).encode())
        assert b" 101 " in raw.recv(10_000)
        clock.move(-2 * HOUR)
        said = b""
        while PING not in said:
            said = raw.recv(10_000)
            assert said, "the socket was closed"
