"""The two kinds of Redis below a board, as something that a test may kill, freeze and flush."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import redis

from apps.host.redis_server import require_program, socket_path
from tests.process.server import free_port, until

if TYPE_CHECKING:
    from tests.process.board import Board


class Faulty(Protocol):
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def flush(self) -> None: ...

    def restart(self) -> None:
        """As after a crash; back when this returns."""


class Embedded:
    """The one that the board's supervisor has started."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def freeze(self) -> None:
        self.board.kill("redis", signal.SIGSTOP)

    def thaw(self) -> None:
        self.board.kill("redis", signal.SIGCONT)

    def flush(self) -> None:
        with redis.Redis(unix_socket_path=str(socket_path(self.board.data))) as client:
            client.flushall()

    def restart(self) -> None:
        self.board.wait_replaced("redis", self.board.kill("redis"))


class Redis:
    """One of the test's own, for KANBAN_REDIS_URL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = require_program()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(program.path), "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self.answers, what="Redis")

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()
