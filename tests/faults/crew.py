"""The product as `docker-compose.yml` starts it: one process a role, and nobody who supervises them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.process.board import Board, Card
from tests.process.server import ROOT


class Crew(Board):
    """`Board` on somebody else's Redis, with a web process and as many workers as are asked for."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, **environment)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, *, timeout: float = 60.0) -> float:
        self.api.close()
        self._run("migrate", "--no-input").wait(timeout)
        self.process = self._run("serve", "--role", "web")
        self.add_worker()
        self.wait_healthy(timeout=timeout)
        return 0.0

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        worker = self._run("serve", "--role", "worker", **environment)
        self.workers.append(worker)
        return worker

    def _run(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), *arguments],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self) -> None:
        try:
            for worker in self.workers:
                worker.terminate()
            for worker in self.workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(10)
            super().stop()
        finally:
            for worker in self.workers:
                worker.kill()
                worker.wait()


@contextlib.contextmanager
def crew_in(folder: Path, **environment: str) -> Iterator[Crew]:
    crew = Crew(folder, **environment)
    try:
        crew.start()
        crew.setup()
        yield crew
    finally:
        crew.stop()


def alive(board: Board, card: Card) -> list[psutil.Process]:
    """The card's agents, without what they have started: each leads a group of its own."""
    found = []
    for each in board.agents():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(each.pid) == each.pid and each.cwd() == str(board.worktree(card)):
                found.append(each)
    return found
