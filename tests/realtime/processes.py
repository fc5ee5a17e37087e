"""Real servers for tests: a Redis-compatible one and a web process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from apps.host import redis_server

ROOT = Path(__file__).absolute().parents[2]


class RedisServer:
    """The embedded server, on a socket with a short path; may be killed, frozen and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ka-", dir="/tmp"))
        self.socket = self.folder / "redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        arguments = redis_server.arguments(redis_server.require_program(), self.socket)
        self._process = subprocess.Popen(arguments)
        assert redis_server.answers(self.socket, within=10)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)


class WebServer:
    def __init__(self, kind: str, *, redis_url: str, database: str, data_dir: Path) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        self.kind = kind
        self.port: int = listener.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.realtime.server", kind, str(listener.fileno())],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            env={
                **os.environ,
                "KANBAN_REDIS_URL": redis_url,
                "KANBAN_TEST_DATABASE": database,
                "KANBAN_DATA_DIR": str(data_dir),
                "KANBAN_AUTH": "on",
            },
        )
        listener.close()

    def url(self, query: str = "", path: str = "/api/ws") -> str:
        return f"ws://127.0.0.1:{self.port}{path}{query}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
