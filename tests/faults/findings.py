"""What the product says is down, to machines and to a person."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.process.server import ROOT, Server


def failing(server: Server) -> list[str]:
    """What `/api/health` says is down."""
    status, text = server.health()
    if status == 200:
        return []
    assert status == 503, (status, text)
    found: list[str] = json.loads(text)["error"]["details"]["failing"]
    return found


def run_doctor(server: Server) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
