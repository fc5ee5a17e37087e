"""PostgreSQL restarted and frozen under load."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Any

import pytest

from tests.faults.conftest import Servers
from tests.faults.findings import failing, run_doctor
from tests.faults.rounds import share
from tests.process.board import Board, Card, Project, board_in
from tests.process.client import Client
from tests.process.server import ROOT, until

AGENTS = 6
JOB = "[say one] [lines 20/s for 4 s] [tool append log.txt done] [say end]"


@pytest.fixture
def board(servers: Servers, tmp_path: Path) -> Iterator[Board]:
    environment = {"KANBAN_MAX_AGENTS": str(AGENTS), **servers.environment}
    with board_in(tmp_path / "board", **environment) as running:
        yield running


@dataclass
class Person:
    """Creates and moves cards without a pause; remembers what was accepted and how the rest was refused."""

    board: Board
    project: Project
    created: list[str] = field(default_factory=list)
    stands: dict[str, set[str]] = field(default_factory=dict)
    refusals: list[tuple[int, Any, float]] = field(default_factory=list)
    slowest: float = 0.0

    def work(self, over: threading.Event) -> None:
        client = Client(self.board.port, self.board.api.token)
        dice = random.Random(id(self))
        columns = [self.project.columns[name] for name in ("Backlog", "Done")]
        while not over.is_set():
            if self.created and dice.random() < 0.6:
                card, column = dice.choice(self.created), dice.choice(columns)
                url = f"/projects/{self.project.id}/cards/{card}/move"
                # A refused move may have been stored all the same.
                if self.ask(client, "PATCH", url, {"columnId": column}) is None:
                    self.stands[card].add(column)
                else:
                    self.stands[card] = {column}
            else:
                body = {"projectId": self.project.id, "title": "Load", "columnId": columns[0]}
                made = self.ask(client, "POST", "/cards", body)
                if made is not None:
                    self.created.append(made["id"])
                    self.stands[made["id"]] = {columns[0]}
        client.close()

    def ask(self, client: Client, method: str, url: str, body: Any) -> Any:
        began = time.monotonic()
        status, answer = client.ask(method, url, body)
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        if 200 <= status < 300:
            return answer["data"]
        self.refusals.append((status, answer, took))
        time.sleep(0.05)
        return None


@contextlib.contextmanager
def people(board: Board, project: Project, count: int) -> Iterator[list[Person]]:
    """At work until the end of the block; then everything they were told must be so."""
    crowd, over = [Person(board, project) for _ in range(count)], threading.Event()
    threads = [threading.Thread(target=each.work, args=[over]) for each in crowd]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    for person in crowd:
        for status, answer, _took in person.refusals:
            assert status == 503, (status, answer)
            assert answer["error"]["code"] in ("unavailable", "busy"), answer
            # Of a commit that wasn't answered nobody knows: to say "try again" would be wrong.
            assert any(
                word in answer["error"]["message"] for word in ("again", "before you repeat")
            )
    stored = {
        each["id"]: each["columnId"]
        for each in board.api.get(f"/projects/{project.id}/cards?limit=10000")
    }
    for person in crowd:
        assert person.created
        for card in person.created:
            assert stored[card] in person.stands[card]


def assert_done_once(board: Board, card: Card) -> None:
    messages = board.assert_gapless(card)
    titles = [each["content"] for each in messages if each["type"] == "tool_call"]
    assert titles == [*(f"line {number}" for number in range(80)), "Append to log.txt"]
    assert len(board.prompts(card)) == 1
    assert (board.worktree(card) / "log.txt").read_text() == "done\n"


@contextlib.contextmanager
def under_load(board: Board) -> Iterator[None]:
    """Agents and people at work; afterwards every run is complete, and no process but agents has ended."""
    project = board.make_project()
    pids = {role: board.pid(role) for role in ("supervisor", "web", "worker")}
    with people(board, board.make_project(), 4):
        cards = [board.work(project, JOB) for _ in range(3 * AGENTS)]
        yield
        for card in cards:
            until(lambda card=card: final(board, card), timeout=90, what=f"{card.id}'s end")
    for card in cards:
        session = board.session(card)
        assert session["status"] == "completed", session
        assert_done_once(board, card)
    assert not board.notes("overlaps")
    assert {role: board.pid(role) for role in pids} == pids


def final(board: Board, card: Card) -> bool:
    status, answer = board.api.ask("GET", f"{card.url}/agent")
    return status == 200 and answer["data"]["status"] in ("completed", "failed", "cancelled")


def test_postgres_restarted_under_load_loses_nothing_and_no_run_dies_of_it(
    board: Board, servers: Servers
) -> None:
    with under_load(board):
        for number in range(share(20, least=3)):
            time.sleep(random.uniform(0.5, 2.5))
            servers.postgres.restart((SIGINT, SIGQUIT)[number % 2])
    assert failing(board) == []


def test_while_postgres_is_down_health_and_doctor_say_so_and_everything_goes_on_after(
    board: Board, servers: Servers
) -> None:
    with under_load(board):
        time.sleep(1)
        servers.postgres.stop()
        until(lambda: failing(board) == ["database"], timeout=10, what="the bad news")
        said = run_doctor(board)
        assert said.returncode == 1
        assert "database" in said.stdout
        assert "start it" in said.stdout
        time.sleep(20)  # longer than a worker may be silent
        assert failing(board) == ["database"]
        servers.postgres.start()
        until(lambda: not failing(board), timeout=15, what="health")


def test_a_frozen_postgres_is_answered_for_in_bounded_time_and_kills_nobody(
    board: Board, servers: Servers
) -> None:
    with under_load(board):
        time.sleep(1)
        servers.postgres.freeze()
        time.sleep(2)
        answers: list[tuple[int, float]] = []
        for path in ("/api/health", "/api/projects"):
            began = time.monotonic()
            answers.append((_status(board, path), time.monotonic() - began))
        time.sleep(20)
        servers.postgres.thaw()
        assert [status for status, _ in answers] == [503, 503], answers
        assert max(took for _, took in answers) < 20, answers
        until(lambda: not failing(board), timeout=15, what="health")


def test_a_worker_that_starts_during_an_outage_tells_its_supervisor_that_it_lives(
    servers: Servers, tmp_path: Path
) -> None:
    with board_in(tmp_path / "board", **servers.environment) as board:
        servers.postgres.stop()
        # As the supervisor starts it where it doesn't fork: told where to give its signs of life.
        read, report = os.pipe()
        given = ("--report", str(report), "--parent", str(os.getpid()))
        with board.output.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", "--role", "worker", *given],
                cwd=ROOT,
                env=board.environment,
                pass_fds=(report,),
                stdout=output,
                stderr=output,
            )
        os.close(report)
        try:
            heard = [time.monotonic()]
            while len(heard) <= 5:
                # Its imports come before the first.
                assert select.select([read], [], [], 20 if len(heard) == 1 else 3)[0], heard
                assert os.read(read, 1) == b"."
                heard.append(time.monotonic())
            assert heard[-1] - heard[1] > 3
            ups = board.log(1_000_000).count("is up")
            servers.postgres.start()
            until(
                lambda: board.log(1_000_000).count("is up") > ups,
                timeout=20,
                what="the worker, once the database is back",
            )
        finally:
            os.close(read)
            worker.kill()
            worker.wait()


def _status(board: Board, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", board.port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {board.api.token}"})
        return connection.getresponse().status
    finally:
        connection.close()
