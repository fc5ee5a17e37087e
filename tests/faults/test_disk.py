"""A disk that is nearly full, and one that is: nothing starts, nothing is dropped, all goes on with room."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import disk
from tests.faults.conftest import Servers
from tests.faults.disk import SmallDisk, small_disk
from tests.faults.findings import failing, run_doctor
from tests.faults.postgres import PostgreSQL
from tests.faults.rounds import share
from tests.process.board import PASSWORD, Board, Card, Project, board_in, presets
from tests.process.server import until

AGENTS = 4


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """On SQLite: there the disk and the database are one."""
    if reason := disk.why_not():
        pytest.skip(reason)
    board = Board(tmp_path / "board", KANBAN_MAX_AGENTS=str(AGENTS))
    with small_disk(board.data):
        (board.data / "presets.toml").write_text(presets())
        try:
            board.start()
            board.setup()
            yield board
        finally:
            board.stop()


@pytest.fixture
def space(board: Board) -> SmallDisk:
    return SmallDisk(board.data)


def test_agents_on_a_full_disk_lose_nothing_and_go_on_when_there_is_room(
    board: Board, space: SmallDisk
) -> None:
    project = board.make_project()
    pids = {role: board.pid(role) for role in ("web", "worker", "redis")}
    rounds = share(10)
    # Longer than the disk is full: an agent that ends meanwhile can't keep its own session and says so.
    seconds = 20 * rounds
    cards = [board.work(project, f"[lines 50/s for {seconds} s] [say end]") for _ in range(AGENTS)]
    for card in cards:
        board.wait_said(card, "line 20")
    made: list[str] = []
    for _ in range(rounds):
        space.fill()
        until(lambda: refused(board, project.id, made), timeout=30, what="a refusal")
        until(lambda: "disk" in failing(board), what="the bad news")
        said = run_doctor(board)
        assert said.returncode == 1
        assert "0 MB free" in said.stdout
        assert "disk is full" in board.session(cards[0])["statusText"]
        assert_a_right_password_is_not_refused(board)
        time.sleep(8)
        space.make_room()
        until(lambda: not failing(board), timeout=20, what="health")
    assert_nothing_lost(board, project, cards, seconds, made)
    assert {role: board.pid(role) for role in pids} == pids


def assert_a_right_password_is_not_refused(board: Board) -> None:
    """The little that a sign-in writes may find room in the pages that SQLite has."""
    mine = {"email": "alice@example.com", "password": PASSWORD}
    status, answer = board.api.ask("POST", "/auth/login", mine)
    assert status == 200 or (status, answer["error"]["code"]) == (503, "unavailable"), answer


def start_agents(board: Board, project: Project, seconds: int) -> list[Card]:
    """They write nothing on the disk themselves: that would be their own failure."""
    cards = [board.work(project, f"[lines 50/s for {seconds} s]") for _ in range(AGENTS)]
    for card in cards:
        board.wait_said(card, "line 20")
    return cards


def assert_nothing_lost(
    board: Board, project: Project, cards: list[Card], seconds: int, made: list[str]
) -> None:
    for card in cards:
        # They speak for that long, however quick the rounds were.
        board.finish(card, timeout=seconds + 60)
        messages = board.assert_gapless(card)
        titles = [each["content"] for each in messages if each["type"] == "tool_call"]
        assert titles == [f"line {number}" for number in range(50 * seconds)]
        assert len(board.prompts(card)) == 1
    stored = {each["id"] for each in board.api.get(f"/projects/{project.id}/cards?limit=9999")}
    assert set(made) <= stored


def refused(board: Board, project_id: str, made: list[str]) -> bool:
    """SQLite goes on for a while in the pages that it has."""
    body = {"projectId": project_id, "title": "Load", "prompt": "x" * 50_000}
    status, answer = board.api.ask("POST", "/cards", body)
    if status == 201:
        made.append(answer["data"]["id"])
        return False
    assert status == 503, (status, answer)
    assert (
        "disk is full" in answer["error"]["message"] or "be reached" in answer["error"]["message"]
    )
    return True


def test_a_postgres_whose_disk_is_full_loses_nothing_and_goes_on_when_there_is_room(
    servers: Servers, tmp_path: Path
) -> None:
    """PostgreSQL refuses statements first; without room for its log it ends itself."""
    if reason := disk.why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="kanban-postgres-"))
    with small_disk(folder) as space:
        postgres = PostgreSQL(folder)
        try:
            postgres.start()
            here = dataclasses.replace(
                servers, postgres=postgres, database=postgres.create_database()
            )
            more = {"KANBAN_MAX_AGENTS": str(AGENTS), **here.environment}
            with board_in(tmp_path / "board", **more) as board:
                _fill_and_empty(board, postgres, space)
        finally:
            postgres.close()
    folder.rmdir()


def _fill_and_empty(board: Board, postgres: PostgreSQL, space: SmallDisk) -> None:
    project = board.make_project()
    pids = {role: board.pid(role) for role in ("web", "worker")}
    rounds, made = share(10), list[str]()
    # Longer than the disk is full: an agent that ends meanwhile can't keep its own session and says so.
    seconds = 20 * rounds
    cards = start_agents(board, project, seconds)
    for _ in range(rounds):
        space.fill()
        until(lambda: refused(board, project.id, made), timeout=60, what="a refusal")
        time.sleep(5)
        space.make_room()
        if not postgres.answers():
            postgres.restart()
        until(lambda: not failing(board), timeout=20, what="health")
    assert_nothing_lost(board, project, cards, seconds, made)
    assert {role: board.pid(role) for role in pids} == pids


def test_nothing_is_claimed_with_less_than_a_gigabyte_and_the_card_says_why(
    board: Board, space: SmallDisk
) -> None:
    project = board.make_project()
    running = board.work(project, "[say one] [lines 20/s for 4 s] [say end]")
    board.wait_said(running, "one")
    space.leave(1 << 29)
    waiting = board.work(project, "[say here]")
    until(lambda: board.session(waiting)["queueReason"] == "disk_low", what="a reason")
    board.finish(running)
    time.sleep(3)
    assert board.session(waiting)["status"] == "queued"
    assert "MB free" in run_doctor(board).stdout
    assert failing(board) == []
    space.make_room()
    board.finish(waiting)
