"""Counting and claiming under one lock.

Counting first and claiming afterwards let 7 to 11 run where 4 were allowed.
"""

from __future__ import annotations

from django.db import connection

_ADVISORY_KEY = 0x6B616E  # "kan"
# Of those that wait, in one look at the queue: each is a transaction, and the loop has more to do.
MOST_TOLD = 500
# Of the data directory; with less nothing is claimed.
LOW_DISK_BYTES = 1 << 30
# With less it is full: databases refuse to write somewhat before the last byte.
FULL_DISK_BYTES = 16 << 20


def lock() -> None:
    """Hold the limits' lock until the transaction ends; it comes first in the lock order.

    On SQLite the transaction itself is the lock (IMMEDIATE).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("limits.lock needs a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_KEY])
