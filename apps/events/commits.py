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
from typing import Any

from django.db import InterfaceError, OperationalError, connection

_here = threading.local()
_LOOK_FOR_S = 2.0


class Unanswered(OperationalError):
    """A transaction whose fate is unknown: `stored(number)` tells it; `result` is what its service gave."""

    may_be_stored = True

    def __init__(self, number: str, result: Any) -> None:
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


def learn(number: str) -> None:
    _here.number = number


def number() -> str | None:
    """The open transaction's, if it has changed or locked anything."""
    if connection.vendor != "postgresql":
        return None
    known: str | None = _here.number
    if known is not None:
        return known
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()::text")
        found: str | None = cursor.fetchone()[0]
    return found


def look_up(number: str, result: Any) -> bool:
    """Whether it was stored; Unanswered when that can't be known in a moment, or is the caller's to ask."""
    until = time.monotonic() + _LOOK_FOR_S
    while not getattr(_here, "told", False) and time.monotonic() < until:
        try:
            return stored(number)
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(0.05)
    raise Unanswered(number, result)


def stored(number: str) -> bool:
    """Raises OperationalError while nobody knows: the server hasn't noticed yet that its client is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_xact_status(%s::xid8)", [number])
        (status,) = cursor.fetchone()
    if status == "in progress":
        raise OperationalError(f"transaction {number} is still open")
    return bool(status == "committed")
