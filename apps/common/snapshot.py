from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def snapshot() -> Iterator[None]:
    """All that is read inside is of one moment; nobody waits for it, and it waits for nobody.

    Only for reading. While it lasts SQLite's log grows and PostgreSQL clears nothing away, so what is read
    goes into a file rather than to a client. Inside another transaction it joins that.
    """
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with _deferred(), transaction.atomic():
            yield


@contextmanager
def _deferred() -> Iterator[None]:
    """Transactions that begin here don't take the lock to write, as the settings say for all others."""
    of_sqlite: Any = connection
    usual = of_sqlite.transaction_mode
    of_sqlite.transaction_mode = "DEFERRED"
    try:
        yield
    finally:
        of_sqlite.transaction_mode = usual
