"""A card as it is now, under the lock; and the places of cards in columns, shifted by range.

Written out in SQL: a move is these statements and little else; they set how many moves there are a second.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from apps.cards.models import Card
from apps.common.errors import NotFound


def gone() -> NotFound:
    return NotFound("Somebody has just deleted this card.")


def fresh(card: Card) -> Card:
    """The row as it is now; what a view read may be stale by the time the lock is held."""
    found = Card.objects.select_related("column").filter(pk=card.pk).first()
    if found is None:
        raise gone()
    return found


def execute(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def one(statement: str, parameters: list[Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


# The number of the event that is about to be published: while the stream is locked nobody else takes it.
NEXT_SEQ = "(SELECT version + 1 FROM events_eventstream WHERE project_id = cards_card.project_id)"


def write(card: Card, changes: dict[str, Any], *, noted_by: int | None = None) -> None:
    """Set columns of the row, and the same on `card`. By `noted_by` it becomes unread to everybody else.

    The event of the change must be the next one that is published.
    """
    sets = [f"{name} = %s" for name in changes]
    parameters = [
        connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
        for value in changes.values()
    ]
    if noted_by is not None:
        sets.append(f"noted_seq = {NEXT_SEQ}, noted_by = %s")
        parameters.append(noted_by)
    execute(f"UPDATE cards_card SET {', '.join(sets)} WHERE id = %s", [*parameters, card.pk])
    for name, value in changes.items():
        setattr(card, name, value)


def next_seq(project_id: int) -> int:
    row = one("SELECT version + 1 FROM events_eventstream WHERE project_id = %s", [project_id])
    assert row is not None
    return int(row[0])


def close_gaps(column_id: int, first: int) -> None:
    """Where cards are gone from a column, the first of them from that position."""
    execute(
        """
        UPDATE cards_card SET position = given.place
        FROM (
            SELECT id AS card, %s + ROW_NUMBER() OVER (ORDER BY position) - 1 AS place
            FROM cards_card WHERE column_id = %s AND position > %s
        ) AS given
        WHERE id = given.card
        """,
        [first, column_id, first],
    )


def shift_columns(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Close the gap at one place (column, position) and make room at one in another column."""
    execute(
        "UPDATE cards_card SET position = position + CASE WHEN column_id = %s THEN 1 ELSE -1 END"
        " WHERE (column_id = %s AND position > %s) OR (column_id = %s AND position >= %s)",
        [new[0], *old, *new],
    )


def shift_between(column_id: int, old: int, new: int) -> None:
    """Shift those that a card passes on its way from one place of the column to another."""
    if new > old:
        change, low, high = -1, old + 1, new
    else:
        change, low, high = 1, new, old - 1
    execute(
        "UPDATE cards_card SET position = position + %s"
        " WHERE column_id = %s AND position BETWEEN %s AND %s",
        [change, column_id, low, high],
    )
