"""Searching in many cards, for words that are rare and words that nearly all of them have."""

from __future__ import annotations

import random
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.bench import load
from tests.bench.table import Row, milliseconds, no_errors
from tests.process.board import Board, Project, board_in

CARDS = 10_000
SECONDS = 3.0
_chance = random.Random(7)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["".join(_chance.choices(_LETTERS, k=_chance.randint(3, 9))) for _ in range(4_000)]
# As in a language: the second is half as frequent as the first, and so on.
_WEIGHTS = [1 / (place + 1) for place in range(len(WORDS))]


def _text(words: int) -> str:
    return " ".join(_chance.choices(WORDS, _WEIGHTS, k=words))


def _query(number: int) -> str:
    """One to three words, the last of them not typed to its end; hardly ever the same twice."""
    *whole, last = _chance.choices(WORDS, _WEIGHTS, k=1 + number % 3)
    return " ".join([*whole, last[: _chance.randint(2, len(last))]])


def search(folder: Path) -> Iterator[Row]:
    cards = [(_text(6), _text(60)) for _ in range(CARDS)]
    with board_in(folder / "search") as board:
        board.api.patience = 0
        project = board.make_project()
        threads = [
            threading.Thread(target=_fill, args=[board, project, cards[n::4]]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = board.api.get(f"/search?q={quote(WORDS[0])}")
        assert len(found) == 50
        numbers = iter(range(1_000_000))

        def ask(_connection: int) -> bytes:
            path = f"/api/search?q={quote(_query(next(numbers)))}"
            return load.request("GET", path, token=board.api.token)

        ours = load.send(board.port, ask, connections=1, seconds=SECONDS)
        yield milliseconds(
            f"search in {CARDS:,} cards, p50",
            ours.p50_ms,
            at_most=20.0,
            floor=_raw(cards),
            floor_is="FTS5 and the rows, in memory",
        )
        yield no_errors("searching", ours.errors)


def _fill(board: Board, project: Project, cards: list[tuple[str, str]]) -> None:
    for title, prompt in cards:
        board.card(project, prompt, title=title)


def _raw(cards: list[tuple[str, str]]) -> float:
    database = sqlite3.connect(":memory:")
    database.executescript(
        "CREATE TABLE card (id INTEGER PRIMARY KEY, title TEXT, prompt TEXT);"
        "CREATE VIRTUAL TABLE found USING fts5(title, prompt, content='card', content_rowid='id');"
    )
    database.executemany("INSERT INTO card (title, prompt) VALUES (?, ?)", cards)
    database.execute("INSERT INTO found (found) VALUES ('rebuild')")
    times = []
    for number in range(1_000):
        match = " ".join(f'"{word}"' for word in _query(number).split()) + "*"
        began = time.perf_counter()
        database.execute(
            "SELECT card.* FROM found CROSS JOIN card ON card.id = found.rowid"
            " WHERE found MATCH ? ORDER BY found.rowid DESC LIMIT 50",
            [match],
        ).fetchall()
        times.append(time.perf_counter() - began)
    database.close()
    return 1000 * statistics.median(times)
