"""Start, restart, stop: real processes, each test with its own data directory and port."""

from __future__ import annotations

import http.client
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.process.server import Server, until

pytestmark = pytest.mark.process


def test_one_command_starts_everything_and_says_where(server: Server) -> None:
    server.start()
    until(lambda: "is ready" in server.log(), what="the ready line")
    assert f"Kanban Agents is ready: http://127.0.0.1:{server.port}\n" in server.log()
    assert {server.pid(role) > 0 for role in ("supervisor", "web", "worker", "guard", "redis")} == {
        True
    }
    assert (server.data.stat().st_mode & 0o777) == 0o700
    assert "Traceback" not in server.log()


def test_what_the_server_writes_is_its_own_users_alone(server: Server) -> None:
    server.data.mkdir(mode=0o755)
    server.data.chmod(0o755)
    database, patches = server.data / "kanban.sqlite3", server.data / "patches"
    database.touch()
    database.chmod(0o644)
    patches.mkdir()
    patches.chmod(0o755)
    server.start()
    until(lambda: "is ready" in server.log(), what="the ready line")
    modes = {path.name: path.lstat().st_mode & 0o077 for path in server.data.iterdir()}
    assert {"kanban.sqlite3", "kanban.sqlite3-wal", "patches", "host_id"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode} == {}
    server.stop()
    # Fresh interpreters, as on macOS, write under the same rule.
    (server.data / "host_id").unlink()
    server.arguments = ("--spawn", "fresh")
    server.start()
    until(lambda: server.log().count("is ready") == 2, what="the second ready line")
    modes = {path.name: path.lstat().st_mode & 0o077 for path in server.data.iterdir()}
    assert {name: oct(mode) for name, mode in modes.items() if mode} == {}


def test_sigterm_stops_all_in_order_within_ten_seconds(server: Server) -> None:
    server.start()
    assert server.terminate() < 10
    assert server.process is not None
    assert server.process.returncode == 0
    server.wait_gone(timeout=0.5)
    assert not (server.data / "redis.sock").exists()


def test_ctrl_c_stops_it_as_well(server: Server) -> None:
    server.start()
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0
    assert "Traceback" not in server.log()
    server.wait_gone(timeout=0.5)


def test_each_process_is_replaced_when_it_is_killed(server: Server) -> None:
    server.start()
    for role in ("web", "worker", "redis", "guard"):
        until(lambda role=role: server.pid(role) > 0, what=role)  # type: ignore[misc]
        server.wait_replaced(role, server.kill(role), timeout=8)
        server.wait_healthy(timeout=8)
    assert server.process is not None
    assert server.process.poll() is None


def test_nobody_is_refused_while_the_web_process_is_replaced(server: Server) -> None:
    server.start()
    server.kill("web")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/api/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_works(server: Server) -> None:
    server.start()
    server.kill("supervisor")
    server.wait_gone(timeout=2.0)
    server.start()


def test_a_killed_supervisor_and_guard_leave_nothing_and_the_stale_socket_is_no_obstacle(
    server: Server,
) -> None:
    server.start()
    os.kill(server.pid("guard"), signal.SIGSTOP)
    guard = server.pid("guard")
    server.kill("supervisor")
    os.kill(guard, signal.SIGKILL)
    server.wait_gone(timeout=2.0)
    assert (server.data / "redis.sock").exists()
    server.start()


def test_an_agent_is_swept_when_the_supervisor_is_killed(server: Server) -> None:
    server.start()
    until(lambda: (server.data / "host_id").exists(), what="host id")
    host = (server.data / "host_id").read_text().strip()
    agent = subprocess.Popen(
        ["sleep", "600"], env={"BOARD_RUN": f"{host}:sess_001.1"}, start_new_session=True
    )
    foreign = subprocess.Popen(["sleep", "600"], env={"BOARD_RUN": "hother:sess_001.1"})
    try:
        server.kill("supervisor")
        assert agent.wait(2) == -signal.SIGKILL
        assert foreign.poll() is None
    finally:
        for process in (agent, foreign):
            process.kill()
            process.wait()


def test_fresh_interpreters_serve_like_forks(server: Server) -> None:
    server.arguments = ("--spawn", "fresh")
    server.start()
    server.wait_replaced("web", server.kill("web"), timeout=8)
    server.wait_healthy(timeout=8)
    server.kill("supervisor")
    server.wait_gone(timeout=2.0)


def test_a_deep_data_directory_gets_a_short_socket(tmp_path: Path) -> None:
    server = Server(tmp_path / ("deep" * 20) / ("deeper" * 10))
    try:
        server.start()
        assert not list(server.data.glob("*.sock"))
    finally:
        server.stop()


def test_the_other_web_server_answers_too(tmp_path: Path) -> None:
    server = Server(tmp_path, KANBAN_ASGI="uvicorn")
    try:
        server.start()
        assert server.terminate() < 10
    finally:
        server.stop()


def test_the_database_is_copied_before_it_is_migrated_and_three_copies_are_kept(
    server: Server,
) -> None:
    server.start()
    assert server.terminate() < 10
    snapshots = server.data / "snapshots"
    assert not snapshots.exists()
    snapshots.mkdir()
    for year in (2021, 2022, 2023, 2024):
        (snapshots / f"kanban-{year}0101T000000.000000.sqlite3").touch()
    with sqlite3.connect(server.data / "kanban.sqlite3") as database:
        database.execute("DELETE FROM django_migrations WHERE app = 'common'")
        database.execute("DROP TABLE rate_limit_cache")
    database.close()
    server.start()
    kept = sorted(snapshots.iterdir())
    assert [path.name[7:11] for path in kept[:2]] == ["2023", "2024"]
    assert len(kept) == 3
    assert kept[2].stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(kept[2]) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # From before: without the table that the migration makes.
        assert copy.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'rate_limit_cache'"
        ).fetchone() == (0,)
    copy.close()
