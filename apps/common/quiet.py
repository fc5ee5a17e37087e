"""What the log does without."""

from __future__ import annotations

import logging


class HealthPolls(logging.Filter):
    """Drops Django's line for each poll that was answered with 503; the change itself has one."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = getattr(getattr(record, "request", None), "path", "")
        return path != "/api/health" or getattr(record, "status_code", 0) != 503
