"""Whether anybody has committed on PostgreSQL: its snapshot, asked for by all who come in together.

A transaction that has written something and ends, whoever's it is, moves `pg_current_snapshot()`: it leaves
the list of those under way, or raises the end of those that are over. It has moved before the writer hears of
its COMMIT. So of two equal snapshots the second sees nothing that the first one didn't.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, cast

import psycopg
from django.db import Error, connections
from psycopg import pq

from apps.common.kept import Version

# A standby's snapshot doesn't say who is under way.
_QUESTION = b"SELECT pg_current_snapshot() WHERE NOT pg_is_in_recovery()"
_ANSWERS_WITHIN_S = 0.25
_TRY_AGAIN_S = 1.0
_TRY_AGAIN_AT_MOST_S = 30.0

_Asker = asyncio.Future[Version | None]


class SnapshotVersion:
    """Of one event loop; asked in another it begins anew. Has a connection of its own, made in a thread."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]] | None = None) -> None:
        self._make = connect or _as_the_settings_say
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: psycopg.Connection[Any] | None = None
        # A descriptor of its own for the same socket. The driver closes its one when the server goes away,
        # and the loop would still watch that number, which the next to connect gets.
        self._watched = -1
        self._opened = 0
        self._not_before = 0.0
        self._pause = _TRY_AGAIN_S
        self._connecting: asyncio.Task[None] | None = None
        # Whose question is on its way, and who came after it had left.
        self._asked: list[_Asker] = []
        self._waiting: list[_Asker] = []
        self._result: pq.abc.PGresult | None = None
        self._clock: asyncio.TimerHandle | None = None

    def read(self) -> _Asker | None:
        """The snapshot of a moment after this call; None, now or then, when it can't be had.

        A round trip, 0.1 ms and more, one at a time for however many ask. A server that hangs costs those
        who ask just then a quarter of a second, and nobody for a second after, or for up to half a minute
        when it goes on taking connections without answering in time.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.close()
            self._loop = loop
        if self._connection is None:
            self._connect(loop)
            return None
        asker: _Asker = loop.create_future()
        self._waiting.append(asker)
        if not self._asked:
            self._ask()
        return asker

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        if self._connecting is None and now >= self._not_before:
            self._not_before = now + _TRY_AGAIN_S
            self._connecting = loop.create_task(self._connected(loop))

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            connection = await asyncio.to_thread(self._make)
        except (Error, psycopg.Error):
            # Whoever asks the database for something says so, and health does.
            return
        finally:
            wanted = self._connecting is asyncio.current_task()
            if wanted:
                self._connecting = None
        try:
            watched = os.dup(connection.pgconn.socket) if wanted else -1
        except (psycopg.Error, OSError):
            # Lost again, or this process has no descriptors left.
            wanted = False
        if not wanted:
            connection.close()
            return
        # A server that crashed gives numbers of transactions out twice.
        self._opened += 1
        self._connection, self._watched = connection, watched
        loop.add_reader(watched, self._readable, connection)

    def _ask(self) -> None:
        assert self._connection is not None
        assert self._loop is not None
        self._asked, self._waiting = self._waiting, []
        self._clock = self._loop.call_later(_ANSWERS_WITHIN_S, self._give_up)
        connection = self._connection.pgconn
        try:
            connection.send_query(_QUESTION)
            if connection.flush():
                self._give_up()
        except psycopg.Error:
            self._give_up()

    def _readable(self, connection: psycopg.Connection[Any]) -> None:
        if connection is not self._connection:
            return
        pgconn = connection.pgconn
        try:
            pgconn.consume_input()
            # Who asks for a result that isn't there yet waits for it.
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    self._answered()
                    return
                self._result = result
        except psycopg.Error:
            self._give_up()

    def _answered(self) -> None:
        result, self._result = self._result, None
        if result is None:
            # Nothing that was asked for: a notice.
            return
        if result.status != pq.ExecStatus.TUPLES_OK:
            self._give_up()
            return
        if self._clock is not None:
            self._clock.cancel()
        self._pause = _TRY_AGAIN_S
        snapshot = result.get_value(0, 0) if result.ntuples else None
        asked, self._asked = self._asked, []
        _tell(asked, None if snapshot is None else (self._opened, snapshot))
        if self._waiting:
            self._ask()

    def _give_up(self) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _TRY_AGAIN_AT_MOST_S)
        everybody = self._asked + self._waiting
        self.close()
        _tell(everybody, None)

    def close(self) -> None:
        """Whoever still waits is not told; the next to ask begins anew."""
        if self._clock is not None:
            self._clock.cancel()
        connection, self._connection = self._connection, None
        self._asked, self._waiting, self._result, self._connecting = [], [], None, None
        if connection is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._watched)
        os.close(self._watched)
        connection.close()


def _as_the_settings_say() -> psycopg.Connection[Any]:
    """Django's own way to it, which knows at once of a server that hangs."""
    wrapper = connections.create_connection("default")
    wrapper.ensure_connection()
    return cast("psycopg.Connection[Any]", wrapper.connection)


def _tell(askers: list[_Asker], version: Version | None) -> None:
    for asker in askers:
        if not asker.done():
            asker.set_result(version)
