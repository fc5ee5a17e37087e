"""Cold start and idle memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.table import Row
from tests.process.server import Server, describe

STARTS = 3
SETTLE_S = 5.0


def _interpreter_s() -> float:
    """A floor: an interpreter that imports Django and the web server, and ends."""
    times = []
    for _ in range(STARTS):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import django, daphne.server"], check=True)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def start(folder: Path) -> Iterator[Row]:
    fresh, existing = [], []
    for number in range(STARTS):
        server = Server(folder / f"start{number}")
        for times in (fresh, existing):
            try:
                times.append(server.start())
            finally:
                server.stop()
    floor = _interpreter_s()
    for what, times, most in (
        ("cold start, fresh data directory", fresh, 2.0),
        ("cold start, existing data directory", existing, 1.0),
    ):
        ours = statistics.median(times)
        yield Row(
            what,
            f"{ours:.2f} s",
            f"≤ {most} s",
            f"{floor:.2f} s (import Django and daphne)",
            f"{ours / floor:.1f}x",
            ours <= most,
        )


def memory(folder: Path) -> Iterator[Row]:
    """PSS of all processes some seconds after the start; the floor is one interpreter with Django."""
    server = Server(folder / "memory")
    try:
        server.start()
        time.sleep(SETTLE_S)
        parts = {describe(each): _pss_mb(each.pid) for each in server.mine()}
    finally:
        server.stop()
    code = "import django, daphne.server, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        floor = _pss_mb(bare.pid)
        bare.kill()
    ours = sum(parts.values())
    yield Row(
        f"idle memory, PSS of {len(parts)} processes",
        f"{ours:.0f} MB",
        "≤ 150 MB",
        f"{floor:.0f} MB (one Python with Django and daphne)",
        f"{ours / floor:.1f}x",
        ours <= 150,
    )
    for name, megabytes in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"    {megabytes:6.1f} MB  {name[:70]}", file=sys.stderr)


def _pss_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6
