"""Real servers that die, freeze, fill up and lie, below a real `manage.py serve`.

Never the machine's own servers: what a test stops or flushes it has started. A test that uses `ground` runs
twice, on SQLite with the embedded Redis and on PostgreSQL with Redis. In a share of the rounds, the tests
marked `long` take turns instead: the first runs on SQLite, the second on PostgreSQL, and so on.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import postgres as postgres_server
from tests.faults.crew import Crew, crew_in
from tests.faults.postgres import PostgreSQL
from tests.faults.redis import Embedded, Faulty, Redis
from tests.faults.rounds import FULL, ROUNDS
from tests.process.board import Board, board_in

HERE = Path(__file__).parent
GROUNDS = ("sqlite", "servers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.process)
    if ROUNDS < FULL:
        left_out = _all_but_one_ground(items)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if all(HERE in item.path.parents for item in items):
        items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """The parts of tests evenly among the others: workers begin with what lies together."""
    parts = [item for item in items if "nth_part" in _parameters(item)]
    others = [item for item in items if item not in parts]
    for place, item in enumerate(parts):
        others.insert(place * len(items) // len(parts), item)
    return others


def _all_but_one_ground(items: list[pytest.Item]) -> list[pytest.Item]:
    """Each long test that could run on both, on the ground whose turn it isn't."""
    turns: dict[str, str] = {}
    grounds = itertools.cycle(GROUNDS)
    left_out = []
    for item in items:
        ground = _ground(item)
        if ground and item.get_closest_marker("long"):
            test = item.nodeid.partition("[")[0]
            if test not in turns:
                turns[test] = next(grounds)
            if ground != turns[test]:
                left_out.append(item)
    return left_out


def _ground(item: pytest.Item) -> str | None:
    return next((each for each in _parameters(item).values() if each in GROUNDS), None)


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


@dataclass
class Servers:
    """PostgreSQL with an empty database, and Redis; both belong to one test."""

    postgres: PostgreSQL
    redis: Redis
    database: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KANBAN_DATABASE_URL": self.postgres.url(self.database),
            "KANBAN_REDIS_URL": self.redis.url,
        }


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgreSQL]:
    if reason := postgres_server.why_not():
        pytest.skip(reason)
    server = PostgreSQL()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres(_postgres: PostgreSQL) -> Iterator[PostgreSQL]:
    """Up at the test's start, whatever the one before has done to it."""
    if _postgres.process is None:
        _postgres.start()
    yield _postgres
    if _postgres.process is not None:
        _postgres.thaw()
        _postgres.allow_writes()


@pytest.fixture
def servers(postgres: PostgreSQL, tmp_path: Path) -> Iterator[Servers]:
    redis = Redis(tmp_path / "redis")
    redis.start()
    try:
        yield Servers(postgres, redis, postgres.create_database())
    finally:
        redis.kill()


@dataclass
class Ground:
    """What a board stands on: SQLite and the embedded Redis, or `servers`."""

    folder: Path
    servers: Servers | None

    @contextlib.contextmanager
    def board(self, **environment: str) -> Iterator[Board]:
        below = self.servers.environment if self.servers else {}
        with board_in(self.folder, **below, **environment) as board:
            yield board

    @contextlib.contextmanager
    def crew(self, **environment: str) -> Iterator[Crew]:
        """Each process by itself; on SQLite with a Redis of their own, since nobody embeds one."""
        if self.servers:
            with crew_in(self.folder, **self.servers.environment, **environment) as crew:
                yield crew
            return
        self.folder.mkdir()
        redis = Redis(self.folder / "redis")
        redis.start()
        try:
            with crew_in(self.folder, KANBAN_REDIS_URL=redis.url, **environment) as crew:
                yield crew
        finally:
            redis.kill()

    def redis(self, board: Board) -> Faulty:
        return self.servers.redis if self.servers else Embedded(board)


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    servers = request.getfixturevalue("servers") if request.param == "servers" else None
    return Ground(tmp_path / "board", servers)
