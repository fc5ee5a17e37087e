"""What ends a worker whose loop hangs where no supervisor does, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from tests.process.server import ROOT, until

pytestmark = pytest.mark.process

PROGRAM = """
import os, sys, time
from pathlib import Path
from apps.operations.serving import watchdog

report = watchdog.start(tick_s=0.05)
pulses, quiet = Path(sys.argv[1]), Path(sys.argv[2])
while not quiet.exists():
    os.write(report, b".")
    pulses.touch()
    time.sleep(0.05)
time.sleep(60)
"""
SILENCE_S = 30 * 0.05


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "pulses"), str(folder / "quiet")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        until((folder / "pulses").exists, timeout=30, what="its first sign of life")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_that_falls_silent_ends_so_that_it_can_be_started_again(tmp_path: Path) -> None:
    with watched(tmp_path) as process:
        time.sleep(2 * SILENCE_S)
        assert process.poll() is None
        (tmp_path / "quiet").touch()
        silent_at = time.monotonic()
        _, complaint = process.communicate(timeout=20)
        assert process.returncode == 70
        assert time.monotonic() - silent_at > SILENCE_S / 2
        assert b"no sign of life" in complaint


def test_a_worker_that_was_stopped_as_a_whole_was_not_silent(tmp_path: Path) -> None:
    with watched(tmp_path) as process:
        process.send_signal(SIGSTOP)
        time.sleep(2 * SILENCE_S)
        process.send_signal(SIGCONT)
        time.sleep(SILENCE_S)
        assert process.poll() is None
