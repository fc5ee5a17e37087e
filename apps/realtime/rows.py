"""A thread of its own for reading rows, with a connection that it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, close_old_connections, connection

P = ParamSpec("P")
R = TypeVar("R")


class RowThread:
    """Reads one after another, so that a long replay must not share a thread with the hub's watch."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _guarded, call)

    def close(self) -> None:
        """Returns at once; what runs still ends, then the connection is closed."""
        # Looked up in the pool's thread: here it would be this thread's connection.
        self._pool.submit(lambda: connection.close())
        self._pool.shutdown(wait=False)


def _guarded(call: Callable[[], R]) -> R:
    close_old_connections()
    try:
        return call()
    except (DatabaseError, InterfaceError):
        # It may be broken in a way that the next check would not see.
        connection.close()
        raise
