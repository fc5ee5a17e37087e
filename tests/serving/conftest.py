from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.server import ROOT, Server, free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet; whatever becomes of it, nothing of it is left afterwards."""
    made = Server(tmp_path)
    yield made
    made.stop()


Serve = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Run `manage.py serve` that is expected not to start; its data directory is `tmp_path / "data"`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "serve", *arguments],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KANBAN_DATA_DIR": str(tmp_path / "data"),
                "KANBAN_PORT": str(free_port()),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    return run
