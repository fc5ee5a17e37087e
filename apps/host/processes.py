"""Starting agents' and scripts' processes, and ending everything that came of them.

Three nets, because each has a hole: a process group of its own (left by `setsid`), the parent's death
signal (Linux; reaches only the direct child) and `BOARD_RUN` in the environment, which every descendant
inherits (Linux; lost by a process that empties its environment *and* leaves the group *and* whose parent
has ended). macOS has the process group only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from apps.host.environment import marks
from apps.host.errors import SpawnFailed
from apps.host.parent_death import no_signal_blocked, tied
from apps.host.privacy import with_peoples_umask
from apps.host.proc import LINUX, ProcessRef, pids, start_time, stat
from apps.host.sweeping import SWEEP_LIMIT_S, remember

INSTALL_DIR = Path(__file__).resolve().parents[2]
STREAM_LIMIT = 1 << 20

Pipe = int | IO[bytes] | None


class Process:
    """A started process. Its streams are asyncio's; None where no pipe was asked for."""

    def __init__(self, inner: asyncio.subprocess.Process, marker: str) -> None:
        self._inner = inner
        self.marker = marker
        self.pid = inner.pid
        # Read before anybody can have reaped it: as long as it is our child, the id is its own.
        self.ref = ProcessRef(inner.pid, start_time(inner.pid) or 0)
        self.stdin = inner.stdin
        self.stdout = inner.stdout
        self.stderr = inner.stderr

    @property
    def returncode(self) -> int | None:
        return self._inner.returncode

    async def wait(self) -> int:
        """Until it has ended, also when a descendant keeps its pipes open.

        asyncio's own `wait` (before 3.13) returns only when the pipes are closed too: an agent's stray
        shell would hold up the end of its session for ever.
        """
        if self._inner.returncode is None:
            # Of one that ended long ago somebody else may have the id.
            with contextlib.suppress(OSError):
                await _exited(self.pid)
        while (code := self._inner.returncode) is None:
            await asyncio.sleep(0.01 if LINUX else 0.05)
        return code


async def _exited(pid: int) -> None:
    """Until a child has ended; OSError where the kernel can't tell (the caller then polls)."""
    if not hasattr(os, "pidfd_open"):
        return
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def python_argv(module: str) -> list[str]:
    """Command that runs a module of this program.

    `-P` keeps the working directory off `sys.path`: an agent starts in a worktree, and an `apps` package
    or a `json.py` there must change nothing. `-s` does the same for packages in the agent's HOME. The
    install directory is put in front by the command itself, not by PYTHONPATH, which everything that
    the agent starts would inherit.
    """
    run = (
        "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); "
        "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-s", "-c", run, str(INSTALL_DIR), module]


async def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    marker: str,
    stdin: Pipe = asyncio.subprocess.PIPE,
    stdout: Pipe = asyncio.subprocess.PIPE,
    stderr: Pipe = asyncio.subprocess.PIPE,
    limit: int = STREAM_LIMIT,
) -> Process:
    """Start a program in a session of its own; nothing but `env` and the `marks` of the run is passed on.

    Call it from a loop whose thread lives as long as the process should: the kernel sends the parent's
    death signal when the *thread* that forked ends. `limit` is the longest line `readline` takes, in bytes.
    """
    if not cwd.is_dir():
        raise SpawnFailed(f"The working directory {cwd} does not exist.", code="directory_missing")
    try:
        child = tied(argv, cwd=cwd, env=env)
        with no_signal_blocked():
            inner = await asyncio.create_subprocess_exec(
                *child.argv,
                cwd=cwd,
                env={**env, **marks(marker)},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                limit=limit,
                start_new_session=True,
                **with_peoples_umask(asyncio.get_running_loop(), child.preexec_fn),
            )
    except FileNotFoundError as problem:
        raise SpawnFailed(
            f"The program {argv[0]} was not found. Install it, or correct the command.",
            code="program_missing",
        ) from problem
    except PermissionError as problem:
        raise SpawnFailed(
            f"The program {argv[0]} may not be run by the server's user.", code="program_missing"
        ) from problem
    except OSError as problem:
        raise SpawnFailed(f"{argv[0]} could not be started: {problem.strerror}.") from problem
    process = Process(inner, marker)
    remember(process.ref, marker)
    return process


def kill_group(pid: int, sig: signal.Signals = signal.SIGKILL) -> bool:
    """Signal the group that `pid` leads; False if there is none. Never this process's own group."""
    if pid <= 1 or pid == os.getpgrp():
        return False
    try:
        os.killpg(pid, sig)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(process: Process, sig: signal.Signals) -> bool:
    """`kill_group` of a process that may have ended: what it left in its group lives on.

    Not where somebody else has got its id since: then none of its group was left, and the group is theirs.
    """
    started = start_time(process.pid)
    if started is not None and process.ref.start_time not in (0, started):
        return False
    return kill_group(process.pid, sig)


async def terminate(process: Process, grace: float = 1.0) -> int:
    """Ask it to end (SIGTERM to the group), after `grace` seconds end it (SIGKILL); its exit status.

    Descendants that left the group go on: `sweeping` finds those.
    """
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    return await _kill(process)


async def terminate_group(process: Process, grace: float) -> int:
    """`terminate`, but the time is everybody's in the group.

    A shell ends at once, while what it runs may have things to put in order.
    """
    if _signal_group(process, signal.SIGTERM):
        until, pause = time.monotonic() + grace, 0.02
        while _group_lives(process.pid) and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.2)
    return await _kill(process)


async def _kill(process: Process) -> int:
    """Its status, also of one that hangs in the kernel: a sweep finds that it is there and says so."""
    _signal_group(process, signal.SIGKILL)
    try:
        return await asyncio.wait_for(process.wait(), SWEEP_LIMIT_S)
    except TimeoutError:
        return -signal.SIGKILL


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not LINUX:
        return True
    # Those that nobody has reaped yet can be signalled too.
    try:
        found = [stat(pid) for pid in pids()]
    except OSError:
        return True
    return any(f and int(f[2]) == group and f[0] not in (b"Z", b"X") for f in found)
