"""What a board stands on: SQLite and embedded Redis; with `KANBAN_TEST_ON=servers` PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.faults.redis import Redis


@contextlib.contextmanager
def servers_below(folder: Path) -> Iterator[dict[str, str]]:
    """The variables of a board that begins with an empty database and a Redis that nobody else uses.

    Boards that shared a Redis would hear each other's news: their ids are the same.
    """
    where = os.environ.get("KANBAN_TEST_DATABASE_URL")
    if os.environ.get("KANBAN_TEST_ON") != "servers" or not where:
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = f"kanban_board_{secrets.token_hex(4)}"
    _run(where, f"CREATE DATABASE {name}")
    redis = Redis(folder / "redis")
    redis.start()
    try:
        database = urlsplit(where)._replace(path=f"/{name}").geturl()
        yield {"KANBAN_DATABASE_URL": database, "KANBAN_REDIS_URL": redis.url}
    finally:
        redis.kill()
        _run(where, f"DROP DATABASE {name} WITH (FORCE)")


def _run(where: str, sql: str) -> None:
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(sql)
