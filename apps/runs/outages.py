"""Telling an outage of the database from a statement that can never work."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError, connection

# What PostgreSQL says to a writer while a standby has not been promoted yet.
_READ_ONLY = "25006"
_SQLITE_OUTAGES = ("locked", "busy", "disk", "full", "unable to open", "readonly")


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may work later: the database is gone, busy or out of space.

    SQLite reports a misspelt column by the same class as a full disk; only the text tells them apart.
    """
    if getattr(error.__cause__, "sqlstate", None) == _READ_ONLY:
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return connection.vendor != "sqlite" or any(part in str(error) for part in _SQLITE_OUTAGES)
