"""`python -m tests.bench [figure …]`: the product's figures beside their targets. Not a timed test.

Each has a raw floor of the same run; on a busy or slow machine only the ratio says something, so a target
that is missed fails the run only with `--strict`; a promise that is broken always does. The targets are for
SQLite; with `KANBAN_TEST_ON=servers` and `KANBAN_TEST_DATABASE_URL` boards stand on PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import agents, cards, searching, starting
from tests.bench.steady import steady
from tests.bench.table import Row, closing, promise, render, status
from tests.process.server import ROOT

SERVERS = ("daphne", "uvicorn")
Figure = Callable[[Path], Iterator[Row]]


def _fanout(_folder: Path) -> Iterator[Row]:
    for server in SERVERS:
        said = subprocess.run(
            [sys.executable, "-m", "tests.bench.fanout", server],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found = json.loads(said)
        ours, floor = found["hub"], found["floor"]
        yield Row(
            f"event to {found['sockets']} sockets, p50/p99, {server}",
            f"{ours['p50_ms']}/{ours['p99_ms']} ms",
            "≤ 6/15 ms",
            f"{floor['p50_ms']}/{floor['p99_ms']} ms (bare echo)",
            f"{ours['p50_ms'] / floor['p50_ms']:.1f}x",
            ours["p50_ms"] <= 6 and ours["p99_ms"] <= 15,
        )
        yield promise(
            "  each event once and in order at each socket",
            found["problems"],
            of=f"{found['events']} events",
        )


def _lists(sizes: list[int]) -> Figure:
    def rows(folder: Path) -> Iterator[Row]:
        for server in SERVERS:
            yield from cards.lists(folder, server, sizes)

    return rows


def _on_both(figure: Callable[[Path, str], Iterator[Row]]) -> Figure:
    def rows(folder: Path) -> Iterator[Row]:
        for server in SERVERS:
            yield from figure(folder, server)

    return rows


def _steady(folder: Path) -> Iterator[Row]:
    yield from steady(folder, "daphne", 60)
    yield from steady(folder, "uvicorn", 20)


FIGURES: dict[str, Figure] = {
    "start": starting.start,
    "memory": starting.memory,
    "list": _lists([10, 1_000]),
    "list10000": _lists([10_000]),
    "create": _on_both(cards.create),
    "move": _on_both(cards.move),
    "search": searching.search,
    "fanout": _fanout,
    "steady": _steady,
    "diff": agents.diff,
    "files": agents.files,
    "alive": agents.alive,
}


def main(arguments: list[str], figures: dict[str, Figure] = FIGURES) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("figure", nargs="*", choices=[*figures, []], help="all of them if none")
    parser.add_argument("--strict", action="store_true", help="fail when a target is missed, too")
    asked = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    rows: list[Row] = []
    lacking = []
    try:
        for name in asked.figure or figures:
            began = time.monotonic()
            try:
                for row in figures[name](folder):
                    rows.append(row)
                    print(f"  {row.what}: {row.ours}", file=sys.stderr)
            except Exception as error:  # noqa: BLE001 - one figure that can't be had must not hide the others
                lacking.append(name)
                print(f"  {name}: {type(error).__name__}: {error}", file=sys.stderr)
            print(f"  ({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(render(rows))
    print(closing(rows, lacking))
    return status(rows, lacking, strict=asked.strict)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
