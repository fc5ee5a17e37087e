"""What must hold before the server starts. Each failure is one `StartProblem` and leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from apps.common.masking import mask
from apps.host.filesystems import is_network_filesystem
from kanban_agents.secrets import BadSecret


class StartProblem(Exception):
    """The server can't start; the text is one line: what, why, what to do."""


def require_git() -> None:
    if shutil.which("git") is None:
        raise StartProblem("git is not on PATH; install it (Debian: apt install git)")


def refuse_network_filesystem(data_dir: Path) -> None:
    """SQLite's write-ahead log shares memory between processes, which no network file system offers."""
    if kind := is_network_filesystem(data_dir):
        raise StartProblem(
            f"{data_dir} lies on a network file system ({kind}), where SQLite loses data;"
            " choose a local KANBAN_DATA_DIR or set KANBAN_DATABASE_URL to a PostgreSQL"
        )


# How long the guard of a killed server may hold the lock while it clears up what that one left.
_CLEANUP_WITHIN = 5.0


def _holder(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def require_secret(secret: object) -> None:
    """Read the server's key now: settings are lazy, and a bad key must not wait for the first request."""
    try:
        str(secret)
    except (BadSecret, OSError) as problem:
        raise StartProblem(str(problem)) from None


def require_redis(url: str, *, within: float = 5.0) -> None:
    """An external server that doesn't answer is more likely a wrong address than an outage."""
    deadline = time.monotonic() + within
    while True:
        try:
            with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
                client.ping()
            return
        except (redis.RedisError, OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise StartProblem(
                    f"Redis does not answer at KANBAN_REDIS_URL ({mask(str(error))});"
                    " correct the address, start that server, or unset it to use the embedded one"
                ) from None
        time.sleep(0.2)


def require_sandbox(*, setting: str, loopback: bool) -> None:
    """Agents don't run in a sandbox yet: nobody may believe that they do, or expose that by accident."""
    if setting == "on":
        raise StartProblem(
            "KANBAN_SANDBOX=on: this version has no sandbox for agents; set it to off"
        )
    if not loopback and setting != "off":
        raise StartProblem(
            "agents run without a sandbox, with the rights of the server's user, and the server is reachable"
            " from other machines; set KANBAN_SANDBOX=off if that is meant"
        )


@dataclass
class DataLock:
    """Held for the life of the server; the guard keeps it until it has cleaned up."""

    descriptor: int
    path: Path


def lock_data_dir(data_dir: Path) -> DataLock:
    """Make the directory if need be and take its lock. Forked children must close the descriptor."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir / "serve.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartProblem(
            f"the data directory {data_dir} can't be written: {error.strerror};"
            " choose another with KANBAN_DATA_DIR"
        ) from None
    deadline = time.monotonic() + _CLEANUP_WITHIN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            holder = _holder(path)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                problem = (
                    f"{path} can't be locked: {error.strerror}; choose a local KANBAN_DATA_DIR"
                )
            elif holder and not _alive(holder) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            else:
                problem = (
                    f"the data directory {data_dir} is in use by another server"
                    f"{f' (process {holder})' if holder else ''};"
                    " stop that one or choose another KANBAN_DATA_DIR"
                )
        os.close(descriptor)
        raise StartProblem(problem)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return DataLock(descriptor, path)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Who connects before a web process is there waits for it; nobody is refused."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartProblem(f"KANBAN_HOST={host} is no address of this machine: {error}") from None
    # A name such as localhost may stand for both families; browsers try IPv4 too.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind(address)
        listener.listen(1)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartProblem(
                f"port {port} on {host} is taken by another program; choose another KANBAN_PORT"
            ) from None
        if error.errno == errno.EACCES:
            raise StartProblem(
                f"port {port} needs more rights than this user has; choose a KANBAN_PORT above 1023"
            ) from None
        raise StartProblem(
            f"can't listen on {host}:{port}: {error.strerror}; see KANBAN_HOST"
        ) from None
    return listener
