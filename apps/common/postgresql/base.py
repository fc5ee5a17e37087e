from __future__ import annotations

import threading
import types
from typing import Any, TypeVar

import psycopg
from django.db.backends.postgresql import base
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from apps.common import postgresql

RV = TypeVar("RV")

_WAIT_INTERVAL_S = 0.1


class Hung:
    """Whether the server is known to hang, and who finds out whether it still does."""

    def __init__(self) -> None:
        self.now = False
        self.trying = threading.Lock()


_hung = Hung()


class _Connection(psycopg.Connection[Any]):
    def wait(
        self, gen: PQGen[RV], interval: float = _WAIT_INTERVAL_S, timeout: float | None = None
    ) -> RV:
        try:
            return super().wait(gen, interval, postgresql.limit() if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            # Its answer may still come, to the wrong question: nothing can be asked here again.
            self.pgconn.finish()
            _hung.now = True
            raise psycopg.OperationalError(
                f"PostgreSQL has not answered for {postgresql.limit()} s"
            ) from None


class _Driver(types.ModuleType):
    """psycopg, but for the connections."""

    connect = staticmethod(_Connection.connect)

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


# Another after each start of the server and after each of its recoveries, which forget the statistics.
LIFE = "pg_postmaster_start_time()::text || coalesce((SELECT stats_reset::text FROM pg_stat_archiver), '')"


class DatabaseWrapper(base.DatabaseWrapper):
    """`life` names that of the server which the last connection was made to: see `LIFE`."""

    Database = _Driver("psycopg")
    life: str | None = None

    def connect(self) -> None:
        try:
            super().connect()
        except BaseException:
            # Else a connection that could not be prepared would be taken for one that is ready.
            self.close()
            raise

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.connection.cursor() as cursor:
            self.life = cursor.execute(f"SELECT {LIFE}").fetchone()[0]
        if not self.get_autocommit():
            self.connection.commit()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not _hung.now:
            return self._connect(conn_params)
        if not _hung.trying.acquire(blocking=False):
            raise psycopg.OperationalError("PostgreSQL does not answer")
        try:
            return self._connect(conn_params)
        finally:
            _hung.trying.release()

    def _connect(self, conn_params: dict[str, Any]) -> Any:
        try:
            connection = super().get_new_connection(conn_params)
        except psycopg.errors.ConnectionTimeout:
            _hung.now = True
            raise
        _hung.now = False
        return connection
