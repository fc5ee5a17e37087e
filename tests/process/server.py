"""The product as a group of processes, started as `make run` ends: `manage.py serve`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "supervisor": "kanban-agents: serve",
    "web": "kanban-agents: web",
    "worker": "kanban-agents: worker",
    "guard": "kanban-agents: guard",
    "redis": "kanban-agents: redis",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(
    happened: Callable[[], bool], *, timeout: float = 15.0, what: str, every: float = 0.03
) -> float:
    """Wait for it; returns how many seconds that took."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > timeout:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(every)
    return time.monotonic() - began


class Server:
    """One data directory and port, which several starts may share. `stop` leaves no process behind."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.data = folder / "data"
        self.output = folder / "server.log"
        self.port = free_port()
        self.arguments: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "KANBAN_DATA_DIR": str(self.data),
            "KANBAN_PORT": str(self.port),
            **environment,
        }

    def start(self, *, timeout: float = 40.0) -> float:
        """Returns the seconds from the start to the first answer of `/api/health` that says ok."""
        began = time.monotonic()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", *self.arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_healthy(timeout=timeout)
        return time.monotonic() - began

    def wait_healthy(self, *, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        said = "no answer"
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"serve ended ({self.process.returncode}):\n{self.log()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, said = self.health()
                if status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"not healthy within {timeout} s: {said}\n{self.log()}")

    def health(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def log(self, limit: int = 6_000) -> str:
        return self.output.read_text(errors="replace")[-limit:] if self.output.exists() else ""

    # Which process is which

    @property
    def supervisor(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def pid(self, role: str) -> int:
        """The process id of supervisor, web, worker, guard or redis; 0 while there is none."""
        for process in self.mine():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if line.startswith(TITLES[role]):
                    return int(process.pid)
        return 0

    def mine(self) -> list[psutil.Process]:
        """Every process that bears this data directory or this host's marker, whoever its parent is."""
        host = self.data / "host_id"
        marker = f"{host.read_text().strip()}:" if host.exists() else None
        return [process for process in psutil.process_iter() if self._is_mine(process, marker)]

    def _is_mine(self, process: psutil.Process, marker: str | None) -> bool:
        if process.pid == os.getpid():
            return False
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            environment = process.environ()
            if environment.get("KANBAN_DATA_DIR") == str(self.data):
                return True
            if marker and environment.get("BOARD_RUN", "").startswith(marker):
                return True
            # A process that renamed itself for `ps` may have lost its environment to the new name.
            if str(self.output) in _outputs(process.pid):
                return True
            return any(str(self.data) in part for part in process.cmdline())
        return False

    def agents(self) -> list[psutil.Process]:
        """Agent processes and whatever they started, by the marker in their environment."""
        found = []
        for process in self.mine():
            with contextlib.suppress(psutil.Error):
                if "BOARD_RUN" in process.environ():
                    found.append(process)
        return found

    # Ends

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal that process; returns its id."""
        pid = self.pid(role)
        assert pid, f"there is no {role}"
        os.kill(pid, number)
        if role == "supervisor" and self.process is not None and number == signal.SIGKILL:
            self.process.wait(10)
        return pid

    def wait_replaced(self, role: str, old: int, *, timeout: float = 20.0) -> None:
        until(
            lambda: self.pid(role) not in (0, old), timeout=timeout, what=f"a new {role}", every=0.1
        )

    def terminate(self, *, timeout: float = 15.0) -> float:
        """An orderly stop; returns its seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"serve did not stop within {timeout} s\n{self.log()}") from None
        return time.monotonic() - began

    def stop(self) -> None:
        """End it in any state; fails when something of it is left two seconds after its end."""
        if self.process is None:
            return
        if self.process.poll() is None:
            try:
                self.terminate()
            except AssertionError:
                self.process.kill()
                self.process.wait()
        try:
            self.wait_gone(timeout=2.0)
        finally:
            for process in self.mine():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def wait_gone(self, *, timeout: float) -> None:
        """Until no process of this server is left, agents included."""
        deadline = time.monotonic() + timeout
        while left := self.mine():
            if time.monotonic() > deadline:
                described = [f"{process.pid} {describe(process)}" for process in left]
                raise AssertionError(f"left after {timeout} s: {described}\n{self.log()}")
            time.sleep(0.03)

    # What the scripted agent wrote

    def notes(self, name: str) -> list[dict[str, object]]:
        """`prompts`, `starts` or `overlaps` of the scripted agent, in the order of their times."""
        lines = [
            json.loads(line)
            for path in self.data.glob(f"homes/*/*/{name}.jsonl")
            for line in path.read_text().splitlines()
        ]
        return sorted(lines, key=lambda note: note["time"])


def _outputs(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return [str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (1, 2)]
    return []


def describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:120]
    return "?"
