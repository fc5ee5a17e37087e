"""A process that no signal ends, as one that hangs in a network disk: stopped on its way out, by ptrace."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_SEIZE, _DETACH = 0x4206, 17
_STOP_AT_EXIT = 0x40


@contextlib.contextmanager
def unkillable(pid: int) -> Iterator[None]:
    """Linux only, and only where processes may be traced. Enter and leave it in the same thread."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes, ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
    if ptrace(_SEIZE, pid, 0, _STOP_AT_EXIT) != 0:
        raise OSError(ctypes.get_errno(), f"process {pid} can't be traced")
    try:
        yield
    finally:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0 if sys.exc_info()[0] is None else os.WNOHANG)
        ptrace(_DETACH, pid, 0, 0)
