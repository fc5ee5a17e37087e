"""Whose turn it is to write to SQLite, which lets one write at a time.

Who finds it taken sleeps for longer and longer, so that a thread that looks now and then never meets the
gap between two busy ones. The threads of one process stand in a line instead, each let in as soon as the one
before is done.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from django.db import connection


class Line:
    """A lock that is had in the order of asking; who has it may ask again."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._guard:
            if self._owner in (None, me):
                self._owner = me
                self._depth += 1
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append((me, called))
        called.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._guard:
            self._depth -= 1
            if self._depth:
                return
            if not self._waiting:
                self._owner = None
                return
            self._owner, called = self._waiting.popleft()
            self._depth = 1
            called.release()


_line = Line()


def turn() -> AbstractContextManager[object]:
    """Around whatever opens a transaction that writes; it costs nothing on PostgreSQL."""
    return _line if connection.vendor == "sqlite" else nullcontext()
