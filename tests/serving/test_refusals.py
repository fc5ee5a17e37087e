"""What stops the start: one line, an exit code, nothing left behind."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from apps.host.filesystems import filesystem_type, is_network_filesystem
from tests.process.server import Server
from tests.serving.conftest import Serve

pytestmark = pytest.mark.process


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("kanban-agents: ")
    for word in words:
        assert word in done.stderr


def test_a_taken_port_is_named_and_no_directory_is_made(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(serve(KANBAN_PORT=port), port, "KANBAN_PORT")
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine_is_refused(serve: Serve, tmp_path: Path) -> None:
    refused(serve(KANBAN_HOST="192.0.2.1", KANBAN_SANDBOX="off"), "192.0.2.1", "KANBAN_HOST")
    assert not (tmp_path / "data").exists()


def test_a_file_in_the_place_of_the_data_directory_is_refused(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    refused(serve(), str(tmp_path / "data"), "KANBAN_DATA_DIR")
    assert (tmp_path / "data").read_text() == "mine"


def test_a_data_directory_below_a_file_is_refused(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(serve(KANBAN_DATA_DIR=str(tmp_path / "file" / "data")), "KANBAN_DATA_DIR")


def test_a_data_directory_that_may_not_be_written_is_refused(serve: Serve) -> None:
    # Holds for the superuser as well: nobody makes files in /proc.
    refused(serve(KANBAN_DATA_DIR="/proc/kanban-agents"), "/proc/kanban-agents", "KANBAN_DATA_DIR")


def test_a_second_server_on_the_same_data_is_refused(server: Server, serve: Serve) -> None:
    server.start()
    refused(serve(KANBAN_DATA_DIR=str(server.data)), "in use", str(server.pid("supervisor")))
    assert server.health()[0] == 200


def test_a_machine_without_git_is_told_so(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    refused(serve(PATH=str(tmp_path / "bin")), "git", "apt install git")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KANBAN_PROT", "37100"),
        ("KANBAN_PORT", "seven"),
        ("KANBAN_DATABASE_URL", "mysql://127.0.0.1/kanban"),
        ("KANBAN_DATABASE_URL", "postgresql://kanban:secret/x@127.0.0.1/kanban"),
        ("KANBAN_SECRET_KEY", "short"),
    ],
)
def test_a_bad_variable_is_named(serve: Serve, tmp_path: Path, name: str, value: str) -> None:
    refused(serve(**{name: value}), name, code=2)
    assert not (tmp_path / "data").exists()


def test_authentication_cannot_be_off_where_others_reach_the_server(serve: Serve) -> None:
    refused(serve(KANBAN_AUTH="off", KANBAN_HOST="0.0.0.0"), "KANBAN_AUTH", code=2)


def test_a_database_that_is_newer_than_the_program_is_left_alone(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "kanban.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT)")
        database.execute("INSERT INTO django_migrations VALUES (1, 'cards', '9999_tomorrow')")
    database.close()
    refused(serve(), "newer", "cards.9999_tomorrow", "docs/reliability.md")
    with sqlite3.connect(path) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    database.close()
    assert tables == (1,)


def test_a_file_that_is_no_database_is_refused(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kanban.sqlite3").write_bytes(b"a text about databases" * 100)
    refused(serve(), "database")


def test_a_database_server_that_is_away_is_named(serve: Serve) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        url = f"postgresql://kanban@127.0.0.1:{port}/kanban"
        refused(serve(KANBAN_DATABASE_URL=url), "database", str(port))


def test_file_systems_are_told_apart_even_before_the_directory_exists(tmp_path: Path) -> None:
    assert filesystem_type(tmp_path / "not" / "yet" / "there")
    assert filesystem_type(Path("/proc/self")) == "proc"
    assert not is_network_filesystem(tmp_path)
