"""Reaching daphne's own connection behind an ASGI `send`.

daphne's `send` never waits: what a slow client doesn't take piles up in the process. Its transport does say
when it holds more than 64 KB and when it is empty again, and that is all that's needed.

Writing to the transport also makes fan-out quicker: a frame to a client is the same bytes for all of
them (never masked, and daphne agrees to no compression), so it is put together once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

_OPEN = 3  # autobahn's STATE_OPEN
# Its own second is too short for a slow line: the client would be cut off before it reads why.
_CLOSE_WITHIN_S = 10.0


class Valve(Protocol):
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


def text_frame(text: str) -> bytes:
    """A whole, final text frame from a server (RFC 6455, 5.2)."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def direct_write(send: Callable[..., Any], valve: Valve) -> Callable[[bytes], None] | None:
    """A function that writes a frame's bytes without waiting; None on a server other than daphne."""
    while isinstance(send, partial) and not send.args:
        send = send.func
    if not isinstance(send, partial):
        return None
    connection: Any = send.args[0]
    transport: Any = getattr(connection, "transport", None)
    if not hasattr(connection, "sendMessage") or not hasattr(transport, "registerProducer"):
        return None
    connection.closeHandshakeTimeout = _CLOSE_WITHIN_S
    # The HTTP channel that the upgrade left behind.
    transport.unregisterProducer()
    transport.registerProducer(valve, streaming=True)

    def write(frame: bytes) -> None:
        if connection.state != _OPEN:
            return
        if transport.dataBuffer or transport._tempDataBuffer:
            transport.write(frame)
            return
        # Straight to the kernel: through the reactor each socket costs two more system calls, and
        # nobody hears anything before the last one's frame has been queued.
        written = transport.writeSomeData(frame)
        if not isinstance(written, int):
            written = 0
        if written < len(frame):
            transport.write(frame[written:])

    return write
