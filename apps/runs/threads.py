"""The threads in which the worker's loop has its blocking work done, and how it waits out an outage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from apps.events import commits
from apps.runs.outages import is_outage

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Threads:
    """Made and used in the loop's thread."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.database_pool = ThreadPoolExecutor(3, thread_name_prefix="database")
        # One of its own: claims that wait for locks must not keep the heartbeat from the database.
        self.beat_pool = ThreadPoolExecutor(1, thread_name_prefix="beat")
        self.disk_pool = ThreadPoolExecutor(4, thread_name_prefix="disk")
        # Of their own too: a checkout may take minutes, and so may a process that can't be ended.
        self.sweep_pool = ThreadPoolExecutor(4, thread_name_prefix="sweep")

    async def database(
        self, function: Callable[[], T], pool: ThreadPoolExecutor | None = None
    ) -> T:
        """Run database work in a thread until the database has answered; nothing is done twice.

        What the function returns is what its last transaction returned, or it depends on none.
        """
        unanswered: list[commits.Unanswered] = []
        return await self._insist(pool or self.database_pool, lambda: _settle(function, unanswered))

    async def disk(self, function: Callable[[], T]) -> T:
        """Run slow work on disk in a thread; where an outage of the database cut it short it is repeated."""
        return await self._insist(self.disk_pool, function)

    async def _insist(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        delay = 0.1
        while True:
            try:
                return await self.loop.run_in_executor(pool, _with_connection, function)
            except (DatabaseError, InterfaceError) as error:
                if not is_outage(error):
                    raise
                logger.warning("database does not answer (%s); again in %.1f s", error, delay)
                await asyncio.sleep(delay)
                delay = min(5.0, delay * 2)


def _settle(function: Callable[[], T], unanswered: list[commits.Unanswered]) -> T:
    """Run it, unless an earlier run whose COMMIT wasn't answered turns out to be stored."""
    if unanswered and commits.stored(unanswered[-1].number):
        result: T = unanswered[-1].result
        return result
    try:
        with commits.told():
            return function()
    except commits.Unanswered as error:
        unanswered.append(error)
        raise


def _with_connection(function: Callable[[], T]) -> T:
    try:
        return function()
    except (DatabaseError, InterfaceError):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        raise
    finally:
        if connection.connection is not None and connection.errors_occurred:
            close_old_connections()
