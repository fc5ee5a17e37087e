"""Django's PostgreSQL, given up on when it hangs.

A server that is gone refuses connections and that is that; one that hangs (a paused container, a stalled
disk, a lost route) answers nothing, and the driver waits for it without end. Eight such waits would be every
thread that answers requests. So a process that serves waits some seconds, drops the connection, and while
the server is known to hang lets one thread at a time try, and tells all others at once.
"""

from __future__ import annotations

ANSWERS_WITHIN_S = 10.0

_limit: float | None = None


def limit_waits() -> None:
    """From now on no statement of this process may take longer; without it a migration takes its time."""
    global _limit
    _limit = ANSWERS_WITHIN_S


def limit() -> float | None:
    return _limit
