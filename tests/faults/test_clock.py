"""The wall clock steps by hours and days, forwards and back, as after a suspend or by NTP."""

from __future__ import annotations

import contextlib
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from kanban_agents.servers import PING_EVERY
from tests.faults import clock as clocks
from tests.faults.clock import DAY, HOUR, Clock
from tests.faults.conftest import Ground
from tests.faults.crew import Crew, alive
from tests.faults.findings import failing
from tests.faults.rounds import share
from tests.process.board import PASSWORD, Board, Card, Project, board_in
from tests.process.client import Client
from tests.process.server import until

CREDENTIALS = {"email": "alice@example.com", "password": PASSWORD}
PING = b"\x89"
LOG = 1_000_000
DEAD_AFTER_S = 15.0
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


def working_on(crew: Crew, project: Project, worker: int) -> Card:
    """A card with an agent that works for long, in that worker: whoever stands still claims nothing."""
    others = [each for number, each in enumerate(crew.workers) if number != worker]
    for other in others:
        other.send_signal(SIGSTOP)
    card = crew.work(project, "[say one] [sleep 600]")
    until(lambda: bool(alive(crew, card)), what="the agent")
    for other in others:
        other.send_signal(SIGCONT)
    crew.wait_said(card, "one")
    assert alive(crew, card)[0].ppid() == crew.workers[worker].pid
    return card


@pytest.mark.long
def test_a_clock_that_steps_kills_nobody_loses_nothing_and_signs_nobody_out(
    ground: Ground, clock: Clock
) -> None:
    with ground.crew(KANBAN_MAX_AGENTS="4", **clock.environment) as crew:
        crew.add_worker()
        until(lambda: crew.log(LOG).count("is up") == 2, timeout=30, what="another worker")
        project = crew.make_project()
        long = [working_on(crew, project, number) for number in range(2)]
        agents = [alive(crew, card) for card in long]
        # They take nobody for dead before that, whatever the clock says.
        time.sleep(DEAD_AFTER_S)
        cards = []
        client = Client(crew.port)
        with contextlib.closing(client), crew.watch(project) as watch:
            for step in STEPS * share(3):
                cards += [
                    crew.work(project, f"[say one] [lines 20/s for 3 s] [say {number}]")
                    for number in range(2)
                ]
                clock.move(step)
                time.sleep(4)
                until(lambda: not failing(crew), timeout=15, what=f"health after {step} s")
                assert [alive(crew, card) for card in long] == agents
                client.token = sign_in(client)
                assert client.get("/projects")
            for card in cards:
                session = crew.finish(card, timeout=60)
                messages = crew.assert_gapless(card)
                titles = [each["content"] for each in messages if each["type"] == "tool_call"]
                assert titles == [f"line {number}" for number in range(60)]
                assert len(crew.prompts(card)) == 1
                watch.status(session["sessionId"], "completed")
            seqs = watch.seqs()
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert "dead: worker" not in crew.log(LOG)
        assert [worker.poll() for worker in crew.workers] == [None, None]
        assert not crew.notes("overlaps")
        # What would have been said of one that really is.
        crew.workers[1].kill()
        until(lambda: "dead: worker" in crew.log(LOG), what="the word for it")
        for card in long:
            crew.api.post(f"{card.url}/agent/cancel")
            crew.wait_status(card, "cancelled")


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
