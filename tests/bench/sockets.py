"""Many sockets in one process, for little CPU: it measures the server, not a client library."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

Heard = Callable[[float, bytes], None]


class Reader(asyncio.Protocol):
    """Reads unmasked frames; `heard(when, payload)` is called for each, on `time.monotonic`'s clock."""

    def __init__(self, heard: Heard) -> None:
        self.data = bytearray()
        self.heard = heard
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.data += data
        if not self.opened.done():
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self.data[: end + 4]
            self.opened.set_result(None)
        taken = 0
        while len(self.data) >= taken + 2:
            kind, length, at = self.data[taken], self.data[taken + 1] & 127, taken + 2
            if length == 126:
                length, at = int.from_bytes(self.data[at : at + 2], "big"), at + 2
            elif length == 127:
                length, at = int.from_bytes(self.data[at : at + 8], "big"), at + 8
            if len(self.data) < at + length:
                break
            payload = bytes(self.data[at : at + length])
            taken = at + length
            if kind == 0x81:
                self.heard(now, payload)
            elif kind == 0x89:
                self._frame(0x8A, payload)
        del self.data[:taken]

    def say(self, text: str) -> None:
        self._frame(0x81, text.encode())

    def subscribe(self, **payload: object) -> None:
        self.say(json.dumps({"type": "subscribe", "payload": payload}))

    def _frame(self, kind: int, payload: bytes) -> None:
        assert self.transport is not None
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self.transport.write(bytes([kind]) + size + bytes(4) + payload)

    def close(self) -> None:
        assert self.transport is not None
        self.transport.close()


async def open_socket(port: int, path: str, heard: Heard) -> Reader:
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(heard), "127.0.0.1", port)
    assert reader.transport is not None
    reader.transport.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.opened
    return reader
