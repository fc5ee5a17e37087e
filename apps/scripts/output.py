"""What a script prints, on its way from the pipe to the rows: as text, without secrets, and no more of it
than is worth keeping.

Ten times a second at most a piece is stored and sent to whoever watches. What came since and is more than is
kept anyway loses its beginning here, so neither memory nor database nor browsers suffer from a script that
prints without end, and none is held up by them. It is only slowed where reading alone would keep the loop
busy.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections import deque

from apps.runs.masking import Secrets
from apps.runs.sink import Feed, Line
from apps.runs.storing import storable

# Characters; the answer shows as many bytes.
KEPT = 65_536
MOST_PIECES = 5_000
FLUSH_S = 0.1
# Bytes between two pieces.
MOST_READ = 4 << 20
# For a pipe that somebody else still holds when all that can be found has ended.
LAST_WORDS_S = 2.0


class Output(asyncio.Protocol):
    """The protocol of a script's output pipe. Everything here runs in the loop's thread."""

    def __init__(self, feed: Feed, secrets: Secrets) -> None:
        self._feed = feed
        self._secrets = secrets
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pipe: asyncio.ReadTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        # Read but perhaps the beginning of a secret; what is to be stored next, in parts.
        self._tail = ""
        self._parts: list[str] = []
        self._size = 0
        self._left_out = False
        self._read = 0
        self._kept: deque[tuple[int, int]] = deque()
        self._kept_size = 0

    @property
    def kept_from(self) -> int:
        """The first ordinal that is still worth keeping."""
        return self._kept[0][0] if self._kept else 0

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        self._take(self._decoder.decode(data))
        self._read += len(data)
        if self._read >= MOST_READ and self._pipe is not None:
            self._pipe.pause_reading()
        self._flush_later()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    # What the run calls

    async def finish(self) -> None:
        """Until all that was printed is stored; called once all processes have ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), LAST_WORDS_S)
        self.stop()
        self._take(self._decoder.decode(b"", final=True))
        self._parts.append(self._secrets.mask_end(self._tail) if self._tail else "")
        self._put()
        await self._feed.flushed()

    def stop(self) -> None:
        """Read no more, whoever may still hold the other end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pipe is not None:
            self._pipe.close()

    def _take(self, text: str) -> None:
        whole = self._secrets.mask(self._tail + storable(text))
        end = len(whole) - self._secrets.held_back(whole)
        self._tail = whole[end:]
        self._parts.append(whole[:end])
        self._size += end
        if self._size > 2 * KEPT:
            self._cut()

    def _cut(self) -> str:
        text = "".join(self._parts)
        if len(text) > KEPT:
            text, self._left_out = text[-KEPT:], True
        self._parts, self._size = [text], len(text)
        return text

    def _flush_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer, self._read = None, 0
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.resume_reading()
        if self._feed.pending or self._feed.in_flight:
            # The database has yet to catch up; only the newest is kept for it meanwhile.
            self._flush_later()
        else:
            self._put()

    def _put(self) -> None:
        text = self._cut()
        if not text:
            return
        line = Line(self._feed.new_ordinal(), "", "", text, truncated=self._left_out)
        self._parts, self._size, self._left_out = [], 0, False
        self._kept.append((line.ordinal, len(text)))
        self._kept_size += len(text)
        while self._kept_size - self._kept[0][1] >= KEPT or len(self._kept) > MOST_PIECES:
            self._kept_size -= self._kept.popleft()[1]
        self._feed.put(line)
        self._feed.forget(line.ordinal)
