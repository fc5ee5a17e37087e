"""The guard: a process that outlives its supervisor by just long enough to clean up after it.

It reads from a pipe whose other end only the supervisor holds. `+<pid>` and `-<pid>` lines tell which
children there are. When one has gone, the processes end that a dead worker of this host has left: the next
worker, which sweeps as well, may be long in coming. The end of file says that the supervisor is gone, in
whatever way. Then every child is killed and every agent process of this host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

_MOST_DESCRIPTORS = 4096


class _Watched:
    """Children by id; held by a pidfd where there is one, so that a reused id is never hit."""

    def __init__(self) -> None:
        self._handles: dict[int, int | None] = {}

    def add(self, pid: int) -> None:
        handle = None
        if hasattr(os, "pidfd_open"):
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            except OSError:
                handle = None
        self._handles[pid] = handle

    def drop(self, pid: int) -> None:
        handle = self._handles.pop(pid, None)
        if handle is not None:
            os.close(handle)

    def kill_all(self) -> None:
        for pid, handle in self._handles.items():
            if pid == os.getpid():
                # The supervisor counts its guard among its children, and there is work left to do.
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if handle is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)


def run(pipe: int, *, after_a_death: Callable[[], None], at_the_end: Callable[[], None]) -> None:
    """Read until the pipe's end; then kill the children and clear up for the last time."""
    # Without SIGCHLD the helpers are reaped by the kernel.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    watched = _Watched()
    rest = b""
    while data := os.read(pipe, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            change = watched.add if line.startswith(b"+") else watched.drop
            change(int(line[1:]))
        if any(line.startswith(b"-") for line in lines):
            _aside(after_a_death)
    watched.kill_all()
    at_the_end()


def _aside(work: Callable[[], None]) -> None:
    """In a process of its own: the guard goes on reading, and what the work imports goes with its end."""
    try:
        if os.fork():
            return
    except OSError:
        # What is not ended now the next worker ends.
        traceback.print_exc()
        return
    try:
        _call_yourself("sweep")
        # The lock of the data directory and the pipe must not outlive the guard.
        os.closerange(3, _MOST_DESCRIPTORS)
        work()
    except BaseException:  # noqa: BLE001 - the child must not go on as a second guard
        traceback.print_exc()
    finally:
        os._exit(0)


def _call_yourself(title: str) -> None:
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"kanban-agents: {title}")


def _twice(sweep: Callable[[], object]) -> None:
    """A process that was being started during the first pass is found by the second."""
    sweep()
    time.sleep(0.1)
    sweep()


class Leash:
    """The supervisor's end of the pipe."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        self._pids: set[int] = set()

    def born(self, pid: int) -> None:
        self._pids.add(pid)
        self._send(f"+{pid}\n")

    def gone(self, pid: int) -> None:
        self._pids.discard(pid)
        self._send(f"-{pid}\n")

    def repeat(self) -> None:
        """Tell a newly started guard what the one before it knew."""
        for pid in self._pids:
            self._send(f"+{pid}\n")

    def _send(self, line: str) -> None:
        # The supervisor holds the read end as well, so that a guard that died breaks no pipe.
        with contextlib.suppress(BlockingIOError):
            os.write(self.write, line.encode())

    def close(self) -> None:
        os.close(self.write)
        os.close(self.read)


def main(arguments: list[str]) -> int:
    """`python -m apps.host.guard <pipe> <host id> <directory of the workers' locks>`."""
    _call_yourself("guard")
    pipe, host_id, locks = int(arguments[0]), arguments[1], Path(arguments[2])

    # Imported when they are needed: the guard waits for days in a third of the memory.

    def sweep_dead_workers() -> None:
        from apps.host import disk, sweeping

        _twice(
            lambda: sweeping.sweep_dead_workers(
                host_id, lambda worker: disk.is_locked(locks / worker)
            )
        )

    def sweep() -> None:
        from apps.host import sweeping

        _twice(lambda: sweeping.sweep(f"{host_id}:"))

    run(pipe, after_a_death=sweep_dead_workers, at_the_end=sweep)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
