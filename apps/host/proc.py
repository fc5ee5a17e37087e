"""What /proc tells of the machine's processes. Off Linux only whether one is alive is known.

A process that is gone, or that this user may not look at, is no error. Everything else is: to lack
descriptors or memory must not look like having found nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform.startswith("linux")
# Where proc(5) has them in /proc/<pid>/stat, counted from the state. A kernel thread has no memory; the
# start of an environment is 0 until exec has put it in place.
_VSIZE, _ENV_START, _ENV_END = 20, 47, 48
_EXEC_TRIES = 100


@dataclass(frozen=True)
class ProcessRef:
    """A process that can't be confused with a later one of the same id.

    `start_time` is in clock ticks since boot (Linux); 0 where unknown, and then only the id counts.
    """

    pid: int
    start_time: int


def _read(pid: int, name: str) -> bytes | None:
    """None where there is nothing for us to see."""
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(descriptor, 65536):
                parts.append(part)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return b"".join(parts)


def stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/<pid>/stat from the state on (field 3 of proc(5) is index 0)."""
    data = _read(pid, "stat")
    # The name in parentheses may itself hold parentheses and blanks.
    return None if data is None else data.rpartition(b")")[2].split()


def start_time(pid: int) -> int | None:
    """Ticks since boot at which it started; None where that can't be told."""
    try:
        fields = stat(pid)
    except OSError:
        return None
    return int(fields[19]) if fields else None


def alive(ref: ProcessRef) -> bool:
    """Whether that very process runs; one that ended and waits to be reaped does not."""
    if LINUX:
        fields = stat(ref.pid)
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


def environment(pid: int) -> bytes:
    """Empty where it can't be read. In the middle of exec there seems to be none: it is asked for again."""
    empty_at = None
    for _ in range(_EXEC_TRIES):
        data = _read(pid, "environ")
        if data != b"":
            return data or b""
        fields = stat(pid)
        if not fields or fields[0] in (b"Z", b"X") or fields[_VSIZE] == b"0":
            return b""
        if fields[_ENV_START] == fields[_ENV_END] != b"0":
            # So it stands for a moment of every exec too, but then not twice at the same address.
            if empty_at == fields[_ENV_START]:
                return b""
            empty_at = fields[_ENV_START]
        time.sleep(0.0005)
    return b""


def pid_namespace() -> int | None:
    """The same for processes that see each other; None off Linux, where all do."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def of_session(session_id: int) -> list[int]:
    """Processes of the session that this one leads; none off Linux."""
    if not LINUX:
        return []
    found = ((pid, stat(pid)) for pid in pids())
    return [pid for pid, fields in found if fields and int(fields[3]) == session_id]


def open_files(pid: int) -> list[Path]:
    """What its descriptors are, by where that lies now."""
    files = []
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    for each in descriptors:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            files.append(Path(os.readlink(f"/proc/{pid}/fd/{each}")))  # noqa: PTH115
    return files
