"""One finding each, from the real command."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.server import ROOT, Server

pytestmark = pytest.mark.process
Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Exit code and what a person reads."""

    def run(**environment: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "doctor"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KANBAN_DATA_DIR": str(tmp_path / "data"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def line(report: str, name: str) -> str:
    [found] = [row for row in report.splitlines() if row[9:].startswith(f"{name} ")]
    return found


def test_a_file_in_the_place_of_the_data_directory_is_a_problem(
    doctor: Doctor, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("mine")
    code, report = doctor()
    assert code == 1
    assert line(report, "data directory").startswith("problem")
    assert "KANBAN_DATA_DIR" in line(report, "data directory")
    assert "Not usable yet: " in report
    assert (tmp_path / "data").read_text() == "mine"


def test_a_database_from_a_newer_version_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "kanban.sqlite3") as made:
        made.execute("CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT)")
        made.execute("INSERT INTO django_migrations VALUES (1, 'cards', '9999_tomorrow')")
    made.close()
    code, report = doctor()
    assert code == 1
    assert "newer" in line(report, "database")


def test_presets_are_read_and_their_programs_looked_for(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    presets = tmp_path / "data" / "presets.toml"
    presets.write_text('[ours]\ncommand = ["/nowhere/agent"]\n[shell]\ncommand = ["sh"]\n')
    code, report = doctor()
    assert code == 0
    assert line(report, "preset ours").startswith("missing")
    assert line(report, "preset shell").startswith("ok")
    presets.write_text("[ours]\ncommand = 3\n")
    code, report = doctor()
    assert code == 1
    assert "[ours]" in line(report, "presets")


def test_an_old_git_is_a_problem_and_a_broken_agent_is_not(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in (("git", "echo git version 2.20.1"), ("claude", "exit 4")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    code, report = doctor(PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert code == 1
    assert "2.20.1" in line(report, "git")
    assert line(report, "agent claude").startswith("missing")
    assert "exit code 4" in line(report, "agent claude")
    assert "\nNot usable yet: git.\n" in report


def test_passwords_in_addresses_are_never_shown(doctor: Doctor) -> None:
    code, report = doctor(
        KANBAN_REDIS_URL="redis://:open-sesame@127.0.0.1:1/0",
        KANBAN_DATABASE_URL="postgresql://kanban:open-sesame@127.0.0.1:1/kanban",
    )
    assert code == 1
    assert line(report, "redis").startswith("problem")
    assert line(report, "database").startswith("problem")
    assert "open-sesame" not in report


def test_keys_that_projects_may_not_use_are_said_to_be_so(doctor: Doctor) -> None:
    _, report = doctor(OPENAI_API_KEY="sk-1", KANBAN_SHARE_SERVER_KEYS="off")
    assert "OPENAI_API_KEY" in line(report, "API keys")
    assert "KANBAN_SHARE_SERVER_KEYS" in line(report, "API keys")


def test_a_running_server_is_no_obstacle_and_a_stopped_one_is_not_taken_for_running(
    doctor: Doctor, server: Server
) -> None:
    server.start()
    code, report = doctor()
    assert code == 0, report
    assert f"process {server.pid('supervisor')}" in line(report, "data directory")
    assert "up to date" in line(report, "database")
    assert line(report, "credentials").startswith("missing")
    assert line(report, "worker").startswith("ok")
    server.kill("supervisor")
    server.wait_gone(timeout=3)
    code, report = doctor()
    assert code == 0, report
    assert "process" not in line(report, "data directory")
    assert line(report, "worker").startswith("missing")
