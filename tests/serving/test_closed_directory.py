"""A data directory below a folder that the server's user may not enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.server import ROOT, free_port

pytestmark = pytest.mark.process


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_it_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = []
    if os.geteuid() == 0:
        # The superuser enters everything, unless that right is taken away.
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("as root this needs setpriv")
        os.chown(closed, 1000, 1000)
        before = [setpriv, "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    else:
        closed.chmod(0)
    try:
        done = subprocess.run(
            [*before, sys.executable, str(ROOT / "manage.py"), command],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KANBAN_DATA_DIR": str(closed / "data"),
                "KANBAN_PORT": str(free_port()),
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        closed.chmod(0o700)
    assert done.returncode == 1, done.stderr
    said = done.stderr if command == "serve" else done.stdout
    assert "Traceback" not in done.stderr
    words = "can't be written" if command == "serve" else "can't be made"
    [line] = [each for each in said.splitlines() if words in each]
    assert f"{closed / 'data'} " in line
    assert "KANBAN_DATA_DIR" in line
    assert command == "doctor" or said.count("\n") == 1
