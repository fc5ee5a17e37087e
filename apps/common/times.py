"""How times come in and go out: ISO 8601, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from django.utils.dateparse import parse_datetime

EXAMPLE = "2026-01-31T12:00:00Z"


def parsed(text: str, *, without_zone: tzinfo | None = None) -> datetime:
    """The moment in UTC, where `without_zone` is what a time counts as that names none.

    ValueError for what is no time, and for what only its zone puts before the first or behind the last one.
    """
    moment = parse_datetime(text)
    if moment is not None and moment.tzinfo is None and without_zone is not None:
        moment = moment.replace(tzinfo=without_zone)
    if moment is None or moment.tzinfo is None:
        raise ValueError(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


def iso(moment: datetime | None) -> str | None:
    """With `Z`. `moment` is in UTC, whether it says so or not: SQLite's driver leaves the zone out."""
    # The first 26 characters are those before the zone.
    return None if moment is None else f"{moment.isoformat(timespec='microseconds')[:26]}Z"
