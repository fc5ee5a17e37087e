"""Whether this process can reach Redis, said once when that changes: many parts ask, each every second."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_gone = False


def failed(error: object) -> None:
    global _gone
    with _lock:
        first, _gone = not _gone, True
    if first:
        logger.warning(
            "Redis does not answer (%s); events wait in the database, trying again every few seconds",
            error,
        )


def answered() -> None:
    global _gone
    with _lock:
        again, _gone = _gone, False
    if again:
        logger.warning("Redis answers again")
