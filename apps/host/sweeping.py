"""Ending everything that came of a run, wherever it has gone: by its mark, its group and its parents."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Sequence

from apps.host.proc import LINUX, ProcessRef, alive, environment, pids, stat

SWEEP_LIMIT_S = 10.0
# Of a worker; the name of a file too.
A_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Of a process by its run and its worker, "" where it names none.
Matches = Callable[[str, str], bool]

# What this process started, by its run: a program that is another user's (sudo) lets nobody read its marks.
_started: dict[ProcessRef, str] = {}


def remember(ref: ProcessRef, run: str) -> None:
    """Call it in the thread that starts processes. One without its start would stand for strangers too."""
    # What can't be told now is told at the next start.
    with contextlib.suppress(OSError):
        for each in [each for each in _started if not alive(each)]:
            del _started[each]
    if ref.start_time:
        _started[ref] = run


def _marked(matches: Matches) -> set[int]:
    """Processes of runs that match, without this one and its parents."""
    found = set()
    for pid in pids():
        data = environment(pid)
        run = _value(data, b"BOARD_RUN=")
        if run and matches(run, _value(data, b"BOARD_WORKER=")):
            found.add(pid)
    own = os.environ.get("BOARD_WORKER", "")
    found |= {ref.pid for ref, run in _started.copy().items() if matches(run, own) and alive(ref)}
    return found - _own_line()


def _value(data: bytes, name: bytes) -> str:
    """Of a variable, named with its `=`."""
    return os.fsdecode((b"\0" + data).partition(b"\0" + name)[2].partition(b"\0")[0])


def _own_line() -> set[int]:
    """This process and those it came from: a server that an agent started must not end itself."""
    line = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        fields = stat(pid)
        pid = int(fields[1]) if fields else 0
    return line


def _with_kin(seeds: set[int]) -> set[ProcessRef]:
    """The seeds, all that descend from them, and all in a group or session that one of them leads."""
    above: dict[int, tuple[int, int, int]] = {}
    started: dict[int, int] = {}
    for pid in pids():
        fields = stat(pid)
        if fields and fields[0] not in (b"Z", b"X"):
            above[pid] = (int(fields[1]), int(fields[2]), int(fields[3]))
            started[pid] = int(fields[19])
    kin = seeds & above.keys()
    more = kin
    while more:
        more = {pid for pid, ids in above.items() if pid not in kin and not kin.isdisjoint(ids)}
        kin = kin | more
    return {ProcessRef(pid, started[pid]) for pid in kin - _own_line()}


def _sweep(matches: Matches) -> list[int]:
    if not LINUX:
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
    return _sweep(lambda run, worker: run.startswith(marker_prefix))


def sweep_run(
    host_id: str, wire_id: str, *, fence: int | None = None, below_fence: int | None = None
) -> list[int]:
    """`sweep` for one run: all its fences, exactly `fence`, or only those below `below_fence`."""
    if below_fence is not None and below_fence <= 1:
        # A run's first claim raises its fence to 1: nothing bears a lower one, and a look costs 5 ms.
        return []
    pattern = re.compile(re.escape(f"{host_id}:{wire_id}.") + r"(\d+)")

    def matches(run: str, worker: str) -> bool:
        found = pattern.fullmatch(run)
        if found is None:
            return False
        number = int(found[1])
        return (fence is None or number == fence) and (below_fence is None or number < below_fence)

    return _sweep(matches)


def sweep_dead_workers(host_id: str, lives: Callable[[str], bool]) -> list[int]:
    """`sweep` for what a worker has left that lives no more, whichever of the host that was.

    What names no worker is spared: a sweep of its run finds it.
    """

    def matches(run: str, worker: str) -> bool:
        # A process can say what it likes, but neither lead to other places on the disk nor end the sweep.
        named = run.startswith(f"{host_id}:") and A_NAME.fullmatch(worker)
        return bool(named) and not lives(worker)

    return _sweep(matches)


def stuck_sentence(pids: Sequence[int]) -> str:
    """For people: what `sweep` could not end, and what that means."""
    which = f"Process {pids[0]}" if len(pids) == 1 else f"Processes {', '.join(map(str, pids[:5]))}"
    return (
        f"{which} of an earlier attempt can't be ended, so nothing is started in its directory. It is tried"
        " again until they are gone; a process that hangs in a device or network disk may need a restart"
        " of the machine."
    )
