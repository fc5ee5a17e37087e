"""An agent's standard output as messages.

`session/update` is by far the most frequent message and is handled here, from the raw JSON: validating each
against the protocol's schema would cost more than everything else a worker does, and an update of a kind that
the library does not know yet must not break a session. Everything else goes to the library.

When the sink has no room, nothing is read: the pipe fills and the agent waits. Nothing is dropped.

Lines are taken where the loop hands them over: to wake a task for each, as a stream's reader does, cost a
fifth of the worker under 100 agents.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

logger = logging.getLogger(__name__)

LONGEST_LINE = 8 << 20
GARBAGE_LIMIT = 1_000
# Requests and answers that nobody has taken yet, before no more is read.
MOST_UNTAKEN = 100
UNTAKEN_BYTES = LONGEST_LINE
# More than is ever shown: a secret must not be cut before it is masked.
GARBAGE_KEPT = 4_000


class AgentTransport(asyncio.Protocol):
    """The library's Transport over a child's pipes, and the protocol of the one that is its output."""

    def __init__(
        self,
        stdin: asyncio.StreamWriter,
        *,
        on_update: Callable[[dict[str, Any]], None],
        room: Callable[[], Awaitable[None]],
        full: Callable[[], bool],
    ) -> None:
        self._stdin = stdin
        self._on_update = on_update
        self._room = room
        self._full = full
        self._pipe: asyncio.ReadTransport | None = None
        # Each with the length of its line.
        self._untaken: deque[tuple[dict[str, Any], int]] = deque()
        self._untaken_bytes = 0
        self._arrival: asyncio.Future[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._ended = False
        self._rest = b""
        self._skipping = False
        self.heard_at = time.monotonic()
        # The agent's silence is ours: the sink has no room and nothing is read.
        self.paused = False
        self.garbage: deque[str] = deque(maxlen=5)
        self.garbage_lines = 0

    # What the library calls

    async def send(self, message: dict[str, Any]) -> None:
        self._stdin.write(orjson.dumps(message) + b"\n")
        await self._stdin.drain()

    async def close(self) -> None:
        self._stdin.close()

    async def receive(self) -> dict[str, Any] | None:
        while not self._untaken:
            if self._ended:
                return None
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        message, length = self._untaken.popleft()
        self._untaken_bytes -= length
        self._read_on()
        return message

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        *lines, rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            self._skipping = False
            lines.pop(0)
        for line in lines:
            self._hear(line)
        if len(rest) > LONGEST_LINE:
            self._note(f"a line of more than {LONGEST_LINE >> 20} MiB")
            self._skipping, rest = True, b""
        self._rest = b"" if self._skipping else rest
        if self._full():
            self._pause_for_room()
        elif self._enough and self._pipe is not None:
            self._pipe.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._wake()

    def stop(self) -> None:
        """Read no more, whoever may still hold the other end."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._pipe is not None:
            self._pipe.close()

    def _hear(self, line: bytes) -> None:
        message = self._parse(line)
        if message is None:
            return
        if message.get("method") == "session/update" and "id" not in message:
            params = message.get("params")
            if isinstance(params, dict) and isinstance(params.get("update"), dict):
                self._take(params["update"])
            return
        self._untaken.append((message, len(line)))
        self._untaken_bytes += len(line)
        self._wake()

    @property
    def _enough(self) -> bool:
        return len(self._untaken) > MOST_UNTAKEN or self._untaken_bytes > UNTAKEN_BYTES

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _pause_for_room(self) -> None:
        if self._pipe is not None and self._waiting is None:
            self._pipe.pause_reading()
            self.paused = True
            self._waiting = asyncio.create_task(self._wait_for_room())

    async def _wait_for_room(self) -> None:
        try:
            await self._room()
        finally:
            self.heard_at = time.monotonic()
            self.paused, self._waiting = False, None
        self._read_on()

    def _read_on(self) -> None:
        if self._pipe is not None and not self.paused and not self._enough:
            self._pipe.resume_reading()

    def _take(self, update: dict[str, Any]) -> None:
        try:
            self._on_update(update)
        except Exception as error:  # noqa: BLE001 - whatever is in it is the agent's
            what = f"an update that can't be taken: {type(error).__name__}"
            logger.warning("%s", what)
            self._note(what)

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = self._lenient(line)
        if isinstance(message, dict):
            return message
        self._note(line[:GARBAGE_KEPT].decode(errors="replace"))
        return None

    def _lenient(self, line: bytes) -> Any:
        """Bad UTF-8 and lone surrogates, which orjson refuses, are the agent's data all the same."""
        if not line.lstrip().startswith(b"{"):
            return None
        try:
            return json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            return None

    def _note(self, text: str) -> None:
        self.garbage.append(text)
        self.garbage_lines += 1
