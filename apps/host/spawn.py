"""Two ways to start a child of the supervisor: fork this process, or run a command afresh.

Forking after everything is imported saves start-up time and shares memory; it isn't safe on macOS,
whose system libraries start threads of their own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

CAN_FORK_AFTER_IMPORT = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def die_with(parent: int) -> None:
    """Make this process end when `parent` does, by SIGKILL, however that one ends.

    Linux: the kernel sees to it. Elsewhere a thread looks twice a second.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have gone before the call above; then no signal will come.
        if os.getppid() != parent:
            os._exit(1)
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _forget_parents_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _quiet_streams() -> None:
    """No input, and all output where the logs go: standard output is the supervisor's own."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def fork(body: Callable[[], int | None], *, close: Iterable[int] = ()) -> int:
    """Run `body` in a child in its own session; answers with its process id.

    The child dies with this process. The caller must have no other thread and no open connection to a
    database or broker. `close`: descriptors the child must not keep.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked for a moment: a signal that the child gets before it has forgotten the parent's handlers
    # would be lost on it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    code = 1
    try:
        _forget_parents_signals()
        os.setsid()
        die_with(parent)
        for descriptor in close:
            os.close(descriptor)
        _quiet_streams()
        code = body() or 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing of the parent's code may run in the child
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def command(
    argv: Sequence[str], *, keep: Sequence[int] = (), cwd: Path | None = None, umask: int = -1
) -> int:
    """Run `argv` in its own session with the descriptors `keep` open; answers with its process id."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=2,
        pass_fds=tuple(keep),
        start_new_session=True,
        cwd=cwd,
        umask=umask,
    )
    # The supervisor reaps it by its id; Popen's destructor would warn about a child it has not seen end.
    process.returncode = 0
    return process.pid


def describe_status(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
