"""Children that the kernel kills when the thread that started them ends (Linux' PDEATHSIG).

A child has to ask for that itself. Where util-linux' `setpriv` is installed, it asks and then becomes the
program; elsewhere Python does between fork and exec. That needs a real fork, which takes 5 to 20 ms in a
process of our size, where `setpriv` takes 1 or 2 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Bound here: a child between fork and exec must not load libraries.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform.startswith("linux") else None


@dataclass(frozen=True)
class Tied:
    """What to give to Popen."""

    argv: list[str]
    preexec_fn: Callable[[], None] | None


def tied(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Tied:
    """`argv` as a child that dies with this thread; FileNotFoundError if there is no such program.

    By `setpriv` one whose parent dies in the millisecond before it could ask stays behind: sweeps find it by
    its marker.
    """
    prefix = _setpriv()
    if not prefix:
        return Tied(list(argv), _ask_between_fork_and_exec(os.getpid()))
    name = argv[0]
    # Or it would be setpriv that says so, when it is too late to raise.
    found = os.path.join(cwd, name) if "/" in name else name  # noqa: PTH118 - a name, not a path
    if shutil.which(found, path=env.get("PATH", os.defpath)) is None:
        if "/" in name and os.path.exists(found):  # noqa: PTH110
            raise PermissionError(name)
        raise FileNotFoundError(name)
    return Tied([*prefix, *argv], None)


class _Mask(threading.local):
    inside = 0
    before: set[int] = set()


_here = _Mask()


@contextlib.contextmanager
def no_signal_blocked() -> Iterator[None]:
    """What this thread blocks its children would block too, and could not be ended by it.

    Coroutines of one loop may be in here at once: the last one out restores what the first one found.
    """
    if _here.inside == 0:
        _here.before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _here.inside += 1
    try:
        yield
    finally:
        _here.inside -= 1
        if _here.inside == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, _here.before)


@cache
def _setpriv() -> tuple[str, ...]:
    """The command to put in front; empty where there is none that can do it (that of busybox can't)."""
    program = shutil.which("setpriv")
    if program is None or _prctl is None:
        return ()
    prefix = (program, "--pdeathsig", "KILL", "--")
    try:
        tried = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    except OSError:
        return ()
    return prefix if tried.returncode == 0 else ()


def _ask_between_fork_and_exec(parent: int) -> Callable[[], None] | None:
    """It loads and allocates as little as it can."""
    prctl = _prctl
    if prctl is None:
        return None

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before the call above; then no signal will come.
        if os.getppid() != parent:
            os._exit(127)

    return ask
