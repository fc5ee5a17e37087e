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
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.host.errors import SpawnFailed
from apps.host.parent_death import no_signal_blocked, tied
from apps.host.privacy import with_peoples_umask

INSTALL_DIR = Path(__file__).resolve().parents[2]
SWEEP_LIMIT_S = 10.0
STREAM_LIMIT = 1 << 20

Pipe = int | IO[bytes] | None

_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True)
class ProcessRef:
    """A process that can't be confused with a later one of the same id.

    `start_time` is in clock ticks since boot (Linux); 0 where unknown, and then only the id counts.
    """

    pid: int
    start_time: int


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
        with contextlib.suppress(OSError):
            await _exited(self.pid)
        while (code := self._inner.returncode) is None:
            await asyncio.sleep(0.01 if _LINUX else 0.05)
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
    """Start a program in a session of its own; nothing but `env` and BOARD_RUN=`marker` is passed on.

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
                env={**env, "BOARD_RUN": marker},
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
    return Process(inner, marker)


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/<pid>/stat from the state on (field 3 of proc(5) is index 0)."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    # The name in parentheses may itself hold parentheses and blanks.
    return data.rpartition(b")")[2].split()


def start_time(pid: int) -> int | None:
    """Ticks since boot at which it started; None when there is no such process, or off Linux."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def alive(ref: ProcessRef) -> bool:
    """Whether that very process runs; one that ended and waits to be reaped does not."""
    if _LINUX:
        fields = _stat(ref.pid)
        if not fields or fields[0] in (b"Z", b"X"):
            return False
        return ref.start_time in (0, int(fields[19]))
    try:
        os.kill(ref.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_group(pid: int, sig: signal.Signals = signal.SIGKILL) -> bool:
    """Signal the group that `pid` leads; False if there is none. Never this process's own group."""
    if pid <= 1 or pid == os.getpgrp():
        return False
    try:
        os.killpg(pid, sig)
    except (ProcessLookupError, PermissionError):
        return False
    return True


async def terminate(process: Process, grace: float = 1.0) -> int:
    """Ask it to end (SIGTERM to the group), after `grace` seconds end it (SIGKILL); its exit status.

    Descendants that left the group go on: `sweep_run` finds those.
    """
    if process.returncode is None:
        kill_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    kill_group(process.pid, signal.SIGKILL)
    return await process.wait()


async def terminate_group(process: Process, grace: float) -> int:
    """`terminate`, but the time is everybody's in the group.

    A shell ends at once, while what it runs may have things to put in order.
    """
    kill_group(process.pid, signal.SIGTERM)
    until, pause = time.monotonic() + grace, 0.02
    while _group_lives(process.pid) and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, 0.2)
    kill_group(process.pid, signal.SIGKILL)
    return await process.wait()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not _LINUX:
        return True
    # Those that nobody has reaped yet can be signalled too.
    found = (_stat(pid) for pid in _pids())
    return any(f and int(f[2]) == group and f[0] not in (b"Z", b"X") for f in found)


def _environment(pid: int) -> bytes:
    """Empty where it can't be read. In the middle of exec there seems to be none: it is asked for again."""
    empty_at = None
    for _ in range(_EXEC_TRIES):
        data = _environment_now(pid)
        if data != b"":
            return data or b""
        fields = _stat(pid)
        if not fields or fields[0] in (b"Z", b"X") or fields[_VSIZE] == b"0":
            return b""
        if fields[_ENV_START] == fields[_ENV_END] != b"0":
            # So it stands for a moment of every exec too, but then not twice at the same address.
            if empty_at == fields[_ENV_START]:
                return b""
            empty_at = fields[_ENV_START]
        time.sleep(0.0005)
    return b""


# Where proc(5) has them in /proc/<pid>/stat, counted from the state. A kernel thread has no memory; the
# start of an environment is 0 until exec has put it in place.
_VSIZE, _ENV_START, _ENV_END = 20, 47, 48
_EXEC_TRIES = 100


def _environment_now(pid: int) -> bytes | None:
    try:
        descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def _marked(matches: Callable[[str], bool]) -> set[int]:
    """Processes with a BOARD_RUN that matches, without this one and its parents."""
    found = set()
    for pid in _pids():
        data = _environment(pid)
        at = data.find(b"\0BOARD_RUN=")
        if at < 0 and not data.startswith(b"BOARD_RUN="):
            continue
        value = data[at + 1 + len(b"BOARD_RUN=") :].partition(b"\0")[0]
        if matches(os.fsdecode(value)):
            found.add(pid)
    return found - _own_line()


def _own_line() -> set[int]:
    """This process and those it came from: a server that an agent started must not end itself."""
    line = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return line


def _with_kin(seeds: set[int]) -> set[ProcessRef]:
    """The seeds, all that descend from them, and all in a group or session that one of them leads."""
    above: dict[int, tuple[int, int, int]] = {}
    started: dict[int, int] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields and fields[0] not in (b"Z", b"X"):
            above[pid] = (int(fields[1]), int(fields[2]), int(fields[3]))
            started[pid] = int(fields[19])
    kin = seeds & above.keys()
    more = kin
    while more:
        more = {pid for pid, ids in above.items() if pid not in kin and not kin.isdisjoint(ids)}
        kin = kin | more
    return {ProcessRef(pid, started[pid]) for pid in kin - _own_line()}


def _sweep(matches: Callable[[str], bool]) -> list[int]:
    if not _LINUX:
        return []
    until = time.monotonic() + SWEEP_LIMIT_S
    pause = 0.002
    kin: set[ProcessRef] = set()
    while True:
        # Kin found before stay wanted: what marked them may be gone by now.
        seeds = _marked(matches) | {ref.pid for ref in kin if alive(ref)}
        kin = _with_kin(seeds) if seeds else set()
        if not kin or time.monotonic() >= until:
            return sorted(ref.pid for ref in kin)
        for ref in kin:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(ref.pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def sweep(marker_prefix: str) -> list[int]:
    """End every process whose BOARD_RUN starts with this, and its kin; ids of those that can't be ended.

    The prefix must end with `:` (all of a host) or `.` (all fences of a run), so that `…sess_1` never
    means `…sess_10`. Blocks: 2 ms for 100 processes on the machine when nothing is found, at most 10 s.
    Off Linux it finds nothing.
    """
    if not marker_prefix.endswith((":", ".")):
        raise ValueError(f"not a whole host or run: {marker_prefix!r}")
    return _sweep(lambda marker: marker.startswith(marker_prefix))


def sweep_run(
    host_id: str, wire_id: str, *, fence: int | None = None, below_fence: int | None = None
) -> list[int]:
    """`sweep` for one run: all its fences, exactly `fence`, or only those below `below_fence`."""
    if below_fence is not None and below_fence <= 1:
        # A run's first claim raises its fence to 1: nothing bears a lower one, and a look costs 5 ms.
        return []
    pattern = re.compile(re.escape(f"{host_id}:{wire_id}.") + r"(\d+)")

    def matches(marker: str) -> bool:
        found = pattern.fullmatch(marker)
        if found is None:
            return False
        number = int(found[1])
        return (fence is None or number == fence) and (below_fence is None or number < below_fence)

    return _sweep(matches)


def stuck_sentence(pids: Sequence[int]) -> str:
    """For people: what `sweep` could not end, and what that means."""
    which = f"Process {pids[0]}" if len(pids) == 1 else f"Processes {', '.join(map(str, pids[:5]))}"
    return (
        f"{which} of an earlier attempt can't be ended, so nothing is started in its directory. It is tried"
        " again until they are gone; a process that hangs in a device or network disk may need a restart"
        " of the machine."
    )
