"""An agent's standard output as messages.

`session/update` is by far the most frequent message and is handled here, from the raw JSON: validating each
against the protocol's schema would cost more than everything else a worker does, and an update of a kind that
the library does not know yet must not break a session. Everything else goes to the library.

When the sink has no room, nothing is read: the pipe fills and the agent waits. Nothing is dropped.
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

CHUNK = 1 << 16
LONGEST_LINE = 8 << 20
GARBAGE_LIMIT = 1_000
# More than is ever shown: a secret must not be cut before it is masked.
GARBAGE_KEPT = 4_000


class AgentTransport:
    """The library's Transport over a child's pipes."""

    def __init__(
        self,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        *,
        on_update: Callable[[dict[str, Any]], None],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._on_update = on_update
        self._room = room
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._skipping = False
        self.heard_at = time.monotonic()
        # The agent's silence is ours: the sink has no room and nothing is read.
        self.paused = False
        self.garbage: deque[str] = deque(maxlen=5)
        self.garbage_lines = 0

    async def send(self, message: dict[str, Any]) -> None:
        self._stdin.write(orjson.dumps(message) + b"\n")
        await self._stdin.drain()

    async def close(self) -> None:
        self._stdin.close()

    async def receive(self) -> dict[str, Any] | None:
        while True:
            while self._lines:
                message = self._parse(self._lines.popleft())
                if message is None:
                    continue
                if message.get("method") == "session/update" and "id" not in message:
                    params = message.get("params")
                    if isinstance(params, dict) and isinstance(params.get("update"), dict):
                        self._take(params["update"])
                    continue
                return message
            await self._wait_for_room()
            if not await self._read():
                return None

    async def _wait_for_room(self) -> None:
        self.paused = True
        try:
            await self._room()
        finally:
            self.heard_at = time.monotonic()
            self.paused = False

    def _take(self, update: dict[str, Any]) -> None:
        try:
            self._on_update(update)
        except Exception as error:  # noqa: BLE001 - whatever is in it is the agent's
            what = f"an update that can't be taken: {type(error).__name__}"
            logger.warning("%s", what)
            self._note(what)

    async def _read(self) -> bool:
        chunk = await self._stdout.read(CHUNK)
        self.heard_at = time.monotonic()
        if not chunk:
            return False
        *lines, rest = (self._rest + chunk).split(b"\n")
        if self._skipping and lines:
            self._skipping = False
            lines.pop(0)
        self._lines.extend(lines)
        if len(rest) > LONGEST_LINE:
            self._note(f"a line of more than {LONGEST_LINE >> 20} MiB")
            self._skipping, rest = True, b""
        self._rest = b"" if self._skipping else rest
        return True

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
