"""What a new board begins with."""

from __future__ import annotations

from apps.boards.models import ColumnType

MAIN_BOARD = "Main Board"

DEFAULT: tuple[tuple[str, ColumnType], ...] = (
    ("Backlog", ColumnType.BACKLOG),
    ("In Progress", ColumnType.ACTIVE),
    ("Done", ColumnType.DONE),
)
