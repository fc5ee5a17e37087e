"""Was it stored? What a connection leaves open that breaks between a COMMIT and its answer.

Running such a transaction again would do its work twice, giving it up would lose it. PostgreSQL keeps the
fate of every transaction under its number, which comes with the lock of an event stream or is asked for
before the COMMIT: a connection that is broken can't be asked any more. Then a request looks for a
moment, and the worker, which can wait, for as long as it takes. SQLite has no such gap: there the COMMIT's
error is the answer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DataError, InterfaceError, OperationalError, ProgrammingError, connection

_here = threading.local()
_LOOK_FOR_S = 2.0
_NO_LIMIT = 1 << 64


@dataclass(frozen=True)
class Number:
    """A transaction's number, and in which life of the server it was given."""

    xid: str
    life: str | None


class Unanswered(OperationalError):
    """A transaction whose fate is unknown: `stored(number)` tells it; `result` is what its service gave."""

    may_be_stored = True

    def __init__(self, number: Number, result: Any) -> None:
        super().__init__("the connection broke before its COMMIT was answered")
        self.number = number
        self.result = result


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Services called in here, in this thread, raise Unanswered at once: the caller looks by itself."""
    _here.told = True
    try:
        yield
    finally:
        _here.told = False


NUMBER = "pg_current_xact_id()::text"


def begin() -> None:
    """A transaction of this thread begins, whose number is not known yet."""
    _here.number = None


def learn(xid: str) -> None:
    _here.number = Number(xid, _life())


def number() -> Number | None:
    """The open transaction's, if it has changed or locked anything."""
    if connection.vendor != "postgresql":
        return None
    known: Number | None = _here.number
    if known is not None:
        return known
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()::text")
        (xid,) = cursor.fetchone()
    return None if xid is None else Number(xid, _life())


def _life() -> str | None:
    return getattr(connection, "life", None)


def look_up(number: Number, result: Any) -> bool:
    """Whether it was stored; Unanswered when that can't be known in a moment, or is the caller's to ask."""
    until = time.monotonic() + _LOOK_FOR_S
    while not getattr(_here, "told", False) and time.monotonic() < until:
        try:
            return stored(number)
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(0.05)
    raise Unanswered(number, result)


def stored(number: Number) -> bool:
    """Raises OperationalError while nobody knows: the server hasn't noticed yet that its client is gone.

    What a server that crashed had not written down it has never heard of, and gives the number to another.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_xact_status(%s::xid8)", [number.xid])
            (status,) = cursor.fetchone()
    except DataError:
        # "in the future": the number was not even given out again.
        return False
    if status == "in progress":
        raise OperationalError(f"transaction {number.xid} is still open")
    if status != "committed":
        return False
    return _life() == number.life or int(number.xid) < _first_since_recovery()


def _first_since_recovery() -> int:
    """The number that the server went on with: recovery ends with a checkpoint, and the next is far away."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT next_xid FROM pg_control_checkpoint()")
            epoch, _, xid = cursor.fetchone()[0].partition(":")
    except ProgrammingError:
        # A provider may keep that to itself; then all that is known is that the number was committed.
        return _NO_LIMIT
    return (int(epoch) << 32) + int(xid)
