"""Was it stored? What a connection leaves open that breaks between a COMMIT and its answer.

Running such a transaction again would do its work twice, giving it up would lose it. PostgreSQL keeps the
fate of every transaction under its number, so whoever has to know asks for the number while it is open.
SQLite has no such gap: there the COMMIT's error is the answer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from django.db import OperationalError, connection

_here = threading.local()


class Unanswered(OperationalError):
    """A transaction whose fate is unknown: `stored(number)` tells it; `result` is what its service gave."""

    def __init__(self, number: str, result: Any) -> None:
        super().__init__("the connection broke before its COMMIT was answered")
        self.number = number
        self.result = result


@contextlib.contextmanager
def numbered() -> Iterator[None]:
    """Services called in here, in this thread, raise Unanswered; it costs each of them a query."""
    _here.numbered = True
    try:
        yield
    finally:
        _here.numbered = False


def number() -> str | None:
    """The open transaction's, where somebody wants to know and it has changed anything."""
    if not getattr(_here, "numbered", False) or connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()::text")
        found: str | None = cursor.fetchone()[0]
    return found


def stored(number: str) -> bool:
    """Raises OperationalError while nobody knows: the server hasn't noticed yet that its client is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_xact_status(%s::xid8)", [number])
        (status,) = cursor.fetchone()
    if status == "in progress":
        raise OperationalError(f"transaction {number} is still open")
    return bool(status == "committed")
