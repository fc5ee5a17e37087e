from __future__ import annotations

from datetime import datetime


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with `Z`, as all times go out."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
