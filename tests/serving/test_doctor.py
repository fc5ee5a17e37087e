from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process.server import ROOT, Server

pytestmark = pytest.mark.process
Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Exit code and findings by name."""

    def run(**environment: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "doctor", "--json"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KANBAN_DATA_DIR": str(tmp_path / "data"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        report = json.loads(done.stdout)
        assert report["usable"] == (done.returncode == 0)
        return done.returncode, {finding["name"]: finding for finding in report["findings"]}

    return run


def test_a_machine_that_was_never_started_is_fit_and_stays_untouched(
    doctor: Doctor, tmp_path: Path
) -> None:
    code, found = doctor()
    assert code == 0
    assert found["git"]["status"] == "ok"
    assert found["API keys"]["status"] == "note"
    assert not (tmp_path / "data").exists()


def test_what_is_missing_comes_with_how_to_get_it(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    code, found = doctor(PATH=str(tmp_path / "bin"), KANBAN_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert (found["git"]["status"], found["git"]["advice"]) == (
        "problem",
        "Debian: apt install git",
    )
    assert found["redis"]["status"] == "problem"
    assert "npm install" in found["agent gemini"]["advice"]


def test_keys_are_named_and_never_shown(doctor: Doctor) -> None:
    _, found = doctor(ANTHROPIC_API_KEY="sk-very-secret")
    assert "ANTHROPIC_API_KEY" in found["API keys"]["detail"]
    assert "sk-very-secret" not in json.dumps(found)


def test_a_running_server_is_seen_and_the_setup_code_is_told(
    doctor: Doctor, server: Server
) -> None:
    server.environment |= {"KANBAN_HOST": "0.0.0.0", "KANBAN_SANDBOX": "off"}
    server.start()
    code, found = doctor(
        KANBAN_DATA_DIR=str(server.data), KANBAN_HOST="0.0.0.0", KANBAN_SANDBOX="off"
    )
    assert code == 0
    assert found["worker"]["status"] == "ok"
    assert "runs" in found["redis"]["detail"]
    secret = (server.data / "setup_code").read_text().strip()
    assert found["setup code"]["detail"] == secret
    assert (server.data / "setup_code").stat().st_mode & 0o777 == 0o600
    assert secret in server.log()


def test_a_database_that_was_replaced_under_the_server_is_no_usable_one(
    doctor: Doctor, server: Server
) -> None:
    server.start()
    with sqlite3.connect(server.data / "kanban.sqlite3") as database:
        database.execute("DELETE FROM django_migrations WHERE app = 'cards'")
    code, found = doctor(KANBAN_DATA_DIR=str(server.data))
    assert code == 1
    assert found["database"]["status"] == "problem"
    assert found["database"]["advice"].startswith("restart the server")
