"""Answers in pieces: sent as their clients take them, without a thread that waits for that.

Who takes nothing any more is cut off by the server, which alone sees how much of a piece is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Pieces(Protocol):
    """Of a file: they are there, and need only be read."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Reader:
    """One thread for all of them, in which nothing is closed while it is still being read."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="downloads")

    async def read(self, pieces: Pieces) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        left = iter(pieces)
        while (piece := await loop.run_in_executor(self._thread, next, left, None)) is not None:
            yield piece

    def close(self, pieces: Pieces) -> Awaitable[None]:
        return asyncio.get_running_loop().run_in_executor(self._thread, pieces.close)
