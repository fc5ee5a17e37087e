"""A PostgreSQL server of a test's own, which it may stop, freeze and restart."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from tests.process.server import free_port, until

_ACCOUNT = "postgres"


def _binaries() -> Path | None:
    """The newest installed version's programs; Debian keeps them off PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def why_not() -> str | None:
    """Why there can be none here."""
    if _binaries() is None:
        return "PostgreSQL's programs (initdb, postgres) are not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            return f"PostgreSQL refuses to run as root, and there is no user {_ACCOUNT}"
    return None


class PostgreSQL:
    """Without fsync: the tests kill processes, not machines."""

    def __init__(self, folder: Path | None = None) -> None:
        programs = _binaries()
        assert programs is not None
        self.programs = programs
        # Not below pytest's own directory: the server's account may not enter that.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="kanban-postgres-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        subprocess.run(
            [
                *(str(programs / "initdb"), "--pgdata", str(self.data), "--username", "postgres"),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._as,
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
            "log_min_messages": "fatal",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        until(self.answers, what="PostgreSQL")

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections and then the server in an orderly way; SIGQUIT is like a crash."""
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(how)  # nothing, if it has ended by itself
        self.process.wait(30)
        self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def freeze(self) -> None:
        """Every process of it stands still; the kernel goes on accepting connections to it."""
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_group(signal.SIGCONT)

    def refuse_writes(self) -> None:
        """It answers and stores nothing, like a standby that has not been promoted yet."""
        self._set("ALTER SYSTEM SET default_transaction_read_only = on")

    def allow_writes(self) -> None:
        self._set("ALTER SYSTEM RESET default_transaction_read_only")

    def _set(self, sql: str) -> None:
        self.ask("postgres", sql)
        self.ask("postgres", "SELECT pg_reload_conf()")

    def _signal_group(self, number: signal.Signals) -> None:
        assert self.process is not None
        # Each backend leads a process group of its own.
        for pid in [self.process.pid, *_children(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def create_database(self) -> str:
        name = f"kanban_{next(self._numbers)}"
        self.ask("postgres", f"CREATE DATABASE {name}")
        return name

    def ask(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
