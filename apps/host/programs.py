"""Which programs the machine has, and which versions of them."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from apps.host.environment import search_path

VERSION_WITHIN_S = 5.0
_READ_AT_MOST = 1 << 16
_VERSION = re.compile(rb"\d+(?:\.\d+)+[\w.+-]*")


class ProgramProblem(Exception):
    """The program is there and doesn't tell its version; the text says what it did instead."""


def find(program: str) -> Path | None:
    """Where agents find the program: on PATH without the server's own virtual environment."""
    found = shutil.which(program, path=search_path())
    return Path(found) if found else None


def version(program: Path, *arguments: str, within: float = VERSION_WITHIN_S) -> str:
    """What it says when asked for its version; raises ProgramProblem.

    It runs in an empty HOME with nothing of the server's environment, as it would for an agent, and
    everything it started is killed at the end. Blocks up to `within` seconds; some agents need one.
    """
    with tempfile.TemporaryDirectory(prefix="kanban-", ignore_cleanup_errors=True) as home:
        code, output = _run([str(program), *(arguments or ("--version",))], home, within)
    if code is None:
        raise ProgramProblem(f"did not answer within {within:g} s")
    if code != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:200]}" if lines else ""
        raise ProgramProblem(f"ended with exit code {code}{said}")
    found = _VERSION.search(output)
    if found is None:
        raise ProgramProblem("does not say which version it is")
    return found[0].decode(errors="replace")


def sandbox_problem() -> str | None:
    """Why agents can't be kept in a sandbox here; None when a trial run of bubblewrap succeeds.

    The trial is needed: in many containers, and on some distributions, it is installed and may not
    make namespaces. A few milliseconds where it works.
    """
    path = find("bwrap")
    if path is None:
        return "bwrap is not on PATH"
    trial = ["--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    with tempfile.TemporaryDirectory(prefix="kanban-") as home:
        try:
            code, output = _run([str(path), *trial], home, VERSION_WITHIN_S)
        except ProgramProblem as problem:
            return f"{path} {problem}"
    if code == 0:
        return None
    if code is None:
        return f"{path} did not answer within {VERSION_WITHIN_S:g} s"
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else f"{path} ended with exit code {code}"


def _run(argv: Sequence[str], home: str, within: float) -> tuple[int | None, bytes]:
    """Exit code, None when it had to be ended, and the beginning of what it wrote."""
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=home,
            env={"PATH": search_path(), "HOME": home, "LC_ALL": "C", "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as problem:
        raise ProgramProblem(f"can't be started: {problem.strerror}") from None
    assert process.stdout is not None
    deadline = time.monotonic() + within
    try:
        with process.stdout as stream:
            output = _read(stream.fileno(), deadline)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        code = process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code, output


def _read(descriptor: int, deadline: float) -> bytes:
    """Until the end, the deadline, or as much as a version can need."""
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(output) < _READ_AT_MOST and selector.select(
            max(0.0, deadline - time.monotonic())
        ):
            data = os.read(descriptor, 4096)
            if not data:
                break
            output += data
    return output
