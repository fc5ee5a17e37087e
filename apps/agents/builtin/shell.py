"""Commands as children in a process group of their own, with a time limit and bounded output."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.host import processes

CREDENTIAL_PREFIXES = ("ANTHROPIC_", "OPENAI_", "BUILTIN_")
_DRAIN_SECONDS = 0.3
# Standard input is a pipe that ends when this process does, even by SIGKILL; then a watcher in the
# group kills the group. `exec` keeps the command the group's leader, with an exit code of its own.
_WATCHED = (
    'exec 3<&0 </dev/null; { read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec 3<&-; exec "$@"'
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `output`: standard output and error together, in the order written."""

    output: str
    exit_code: int
    timed_out: bool


def environment() -> dict[str, str]:
    """This process's environment without the variables of the credential."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(CREDENTIAL_PREFIXES)
    }


class _HeadAndTail:
    """Keeps the first and the last half of what is fed to it, `limit` bytes in all."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            self._trim()

    def _trim(self) -> None:
        excess = max(0, len(self._tail) - self._half)
        self._dropped += excess
        del self._tail[:excess]

    def text(self) -> str:
        self._trim()
        head = self._head.decode("utf-8", "replace")
        tail = self._tail.decode("utf-8", "replace")
        if not self._dropped:
            return (bytes(self._head) + bytes(self._tail)).decode("utf-8", "replace")
        return f"{head}\n[... {self._dropped} bytes left out ...]\n{tail}"


@functools.cache
def _shell() -> str:
    """What models write for; plain sh where there is no bash."""
    return shutil.which("bash") or "/bin/sh"


async def _read(source: int, kept: _HeadAndTail) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    try:
        while data := await reader.read(65_536):
            kept.feed(data)
    finally:
        transport.close()


async def run(
    command: str | Sequence[str],
    *,
    cwd: Path,
    seconds: float,
    limit: int = 64_000,
) -> Outcome:
    """Run a shell command line (a string) or a program with its arguments.

    The command's process group is killed when the command ends, when `seconds` are over and when
    this call is cancelled, so nothing it started in the background stays behind unless it took a
    session of its own. Raises apps.host.errors.SpawnFailed.
    """
    # Pipes of our own: with asyncio's, some Python versions wait for their end, not the command's.
    source, sink = os.pipe()
    leash, alive = os.pipe()
    try:
        argv = [_shell(), "-c", command] if isinstance(command, str) else command
        process = await processes.spawn(
            ["/bin/sh", "-c", _WATCHED, "sh", *argv],
            cwd=cwd,
            env=environment(),
            # The one of the run this agent belongs to, so that whoever ends the run finds the command.
            marker=os.environ.get("BOARD_RUN", ""),
            stdin=leash,
            stdout=sink,
            stderr=sink,
        )
    except BaseException:
        os.close(source)
        os.close(alive)
        raise
    finally:
        os.close(sink)
        os.close(leash)
    kept = _HeadAndTail(limit)
    reader = asyncio.create_task(_read(source, kept))
    timed_out = False
    try:
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            timed_out = True
        # What the command left in the background may hold the pipe open for ever.
        await asyncio.wait([reader], timeout=0 if timed_out else _DRAIN_SECONDS)
    finally:
        processes.kill_group(process.pid)
        reader.cancel()
        os.close(alive)
        await asyncio.shield(process.wait())
    return Outcome(kept.text(), process.returncode or 0, timed_out)
