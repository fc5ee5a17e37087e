"""Reads what the processes of a worker print, of all that have printed something together.

A loop that wakes for each line of each of 100 agents spends most of its time on waking. So readings are at
least `GATHER_S` apart; what comes after a silence is read at once, and a pipe that was full is read on.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from typing import Any

GATHER_S = 0.01
# What a pipe holds. Much larger buffers are mapped anew for each reading, which costs more than the reading.
MOST_AT_ONCE = 1 << 16


class Outputs:
    """All pipes of one loop. Everything here runs in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.selector = selectors.DefaultSelector()
        self._read_at = float("-inf")
        loop.add_reader(self.selector, self._ready)

    def attach(self, descriptor: int, protocol: asyncio.Protocol) -> None:
        """From here on the protocol gets what is written into the pipe. The descriptor is ours to close."""
        os.set_blocking(descriptor, False)
        output = _Output(self, descriptor, protocol)
        protocol.connection_made(output)
        output.resume_reading()

    def _ready(self) -> None:
        wait = self._read_at + GATHER_S - self.loop.time()
        if wait <= 0:
            self._read()
        else:
            self.loop.remove_reader(self.selector)
            self.loop.call_later(wait, self._read_gathered)

    def _read_gathered(self) -> None:
        self.loop.add_reader(self.selector, self._ready)
        self._read()

    def _read(self) -> None:
        more = False
        for key, _events in self.selector.select(0):
            more = key.data.read() or more
        self._read_at = float("-inf") if more else self.loop.time()


class _Output(asyncio.ReadTransport):
    def __init__(self, outputs: Outputs, descriptor: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._outputs = outputs
        self._descriptor = descriptor
        self._protocol = protocol
        self._reading = False
        self._closed = False

    def read(self) -> bool:
        """Whether there is probably more. Of those that were ready another one may have closed this."""
        if not self._reading:
            return False
        try:
            data = os.read(self._descriptor, MOST_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._end(error)
            return False
        if not data:
            self._end(None)
            return False
        try:
            self._protocol.data_received(data)
        except Exception as error:  # noqa: BLE001 - the others are to be read all the same
            self._outputs.loop.call_exception_handler(
                {
                    "message": "what a process printed can't be taken",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        return len(data) == MOST_AT_ONCE

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._outputs.selector.unregister(self._descriptor)

    def resume_reading(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._outputs.selector.register(self._descriptor, selectors.EVENT_READ, self)

    def close(self) -> None:
        if not self._closed:
            self._end(None)

    def get_protocol(self) -> Any:
        return self._protocol

    def _end(self, error: Exception | None) -> None:
        self.pause_reading()
        self._closed = True
        os.close(self._descriptor)
        self._outputs.loop.call_soon(self._protocol.connection_lost, error)
