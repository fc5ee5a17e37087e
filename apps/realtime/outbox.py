"""What one socket is about to be sent: bounded, in order, never holding up the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from apps.projects.discretion import frame_for_programs
from apps.realtime.flow import direct_write, text_frame

logger = logging.getLogger(__name__)

LIMIT = 1_000
# Their text; a single frame may be longer.
LIMIT_CHARS = 8_000_000
SLOW = 4408

Send = Callable[[Any], Awaitable[None]]


class Frame:
    """A text, made into a WebSocket frame once for all sockets it goes to."""

    __slots__ = ("_encoded", "_for_programs", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._encoded: bytes | None = None
        self._for_programs: Frame | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = text_frame(self.text)
        return self._encoded

    @property
    def for_programs(self) -> Frame:
        """What sockets with a personal token are sent instead: itself, mostly."""
        if self._for_programs is None:
            text = frame_for_programs(self.text)
            if text is self.text:
                return self
            self._for_programs = Frame(text)
        return self._for_programs


class Outbox:
    """A client that leaves `LIMIT` frames unread, or `LIMIT_CHARS` of them, is closed with 4408: it
    reconnects with `since`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._queue: deque[Frame] = deque()
        self._chars = 0
        self._held = False
        self._closed = False
        self._room: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._write = direct_write(send, self)

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, frame: Frame) -> None:
        if self._closed:
            return
        if self._write is not None and not self._held:
            self._write(frame.encoded)
            return
        chars = self._chars + len(frame.text)
        if self._queue and (len(self._queue) >= LIMIT or chars > LIMIT_CHARS):
            logger.info("closing a socket that does not read")
            self.close(SLOW)
            return
        self._queue.append(frame)
        self._chars = chars
        if self._write is None and self._writer is None:
            self._writer = asyncio.create_task(self._drain())

    async def room(self) -> None:
        """Wait until at most half of its limits is taken, or the socket is closed."""
        while not self._closed and not self._has_room:
            future = asyncio.get_running_loop().create_future()
            self._room.append(future)
            await future

    def close(self, code: int) -> None:
        """Say good-bye with this code; what was not sent yet is dropped."""
        if not self._closed:
            self.abandon()
            self._closer = asyncio.create_task(self._say_closed(code))

    def abandon(self) -> None:
        """The connection is gone, or about to go."""
        self._closed = True
        self._queue.clear()
        self._chars = 0
        self._make_room()
        if self._writer is not None:
            self._writer.cancel()

    async def _drain(self) -> None:
        try:
            while self._queue:
                await self._send({"type": "websocket.send", "text": self._take().text})
                self._make_room()
        except Exception as error:  # noqa: BLE001 - each server has its own way to say "gone"
            logger.debug("socket is gone: %s", error)
            self.abandon()
        finally:
            self._writer = None

    async def _say_closed(self, code: int) -> None:
        with contextlib.suppress(Exception):
            await self._send({"type": "websocket.close", "code": code})

    def _take(self) -> Frame:
        frame = self._queue.popleft()
        self._chars -= len(frame.text)
        return frame

    @property
    def _has_room(self) -> bool:
        return len(self._queue) <= LIMIT // 2 and self._chars <= LIMIT_CHARS // 2

    def _make_room(self) -> None:
        if self._room and (self._closed or self._has_room):
            waiting, self._room = self._room, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    # What daphne's transport calls: its buffer is full, empty again, gone.

    def pauseProducing(self) -> None:
        self._held = True

    def resumeProducing(self) -> None:
        self._held = False
        while self._queue and not self._held and self._write is not None:
            self._write(self._take().encoded)
        self._make_room()

    def stopProducing(self) -> None:
        self.abandon()
