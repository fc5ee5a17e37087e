"""The least that a durable change costs where a board stands."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.process.board import Board

TIMES = 300


class Commit(NamedTuple):
    ms: float
    where: str


def durable_commit(board: Board, folder: Path) -> Commit:
    """One row and its COMMIT on one connection, again and again: no request, no other statement."""
    url = board.environment.get("KANBAN_DATABASE_URL")
    if url:
        with psycopg.connect(url, autocommit=True) as postgres:
            postgres.execute("CREATE TABLE IF NOT EXISTS floor (a text)")
            insert = "INSERT INTO floor VALUES (%s)"
            return Commit(_median_ms(lambda row: postgres.execute(insert, [row])), "PostgreSQL")
    sqlite = sqlite3.connect(folder / "commits.sqlite3", isolation_level=None)
    sqlite.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS floor (a TEXT);"
    )
    try:
        insert = "INSERT INTO floor VALUES (?)"
        return Commit(_median_ms(lambda row: sqlite.execute(insert, [row])), "SQLite, FULL")
    finally:
        sqlite.close()


def _median_ms(store: Callable[[str], object]) -> float:
    times = []
    for number in range(TIMES):
        began = time.perf_counter()
        store(f"row {number}" * 20)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
