from __future__ import annotations

from collections.abc import Mapping

from django.db import connection
from django.db.models import Count

from apps.boards.models import Board, Column, ColumnType
from apps.cards.models import Attachment, Card
from apps.common.errors import Conflict, Invalid, NotFound
from apps.common.fetching import fetch, shape
from apps.runs.models import LIVE


def card_of(project_id: int, card_id: int) -> Card | None:
    return fetch(Card, card_id, project_id=project_id)


def attachments_of(project_id: int, card_id: int) -> list[Attachment] | None:
    """The card's, oldest first; None unless the card is in that project."""
    if not Card.objects.filter(pk=card_id, project=project_id).exists():
        return None
    rows = Attachment.objects.filter(card=card_id).exclude(state=Attachment.State.RECEIVING)
    return list(rows.order_by("pk"))


def project_of(card_id: int) -> int | None:
    return Card.objects.filter(pk=card_id).values_list("project_id", flat=True).first()


def first_column(board_id: int, *types: str) -> Column | None:
    """The first by position, of these types or of any."""
    columns = Column.objects.filter(board_id=board_id).order_by("position", "pk")
    return (columns.filter(column_type__in=types) if types else columns).first()


def landing_column(
    project_id: int,
    *,
    board_id: int | None = None,
    column_id: int | None = None,
    column_name: str | None = None,
    start: bool = False,
) -> Column:
    """Where a new card lands: the column that was named, else the first backlog, else the first.

    With `start` it lands in an active column: the one named, else the first of that board.
    """
    if board_id is not None and not _has_board(project_id, board_id):
        raise NotFound("There is no such board in this project.")
    if column_id is not None and column_name is not None:
        raise Invalid("Name the column by columnId or by columnName, not both.")
    column = (
        _named_column(project_id, board_id, column_id, column_name)
        if column_id is not None or column_name is not None
        else _default_column(project_id, board_id)
    )
    if not start or column.column_type == ColumnType.ACTIVE:
        return column
    return first_active(column.board_id)


def first_active(board_id: int) -> Column:
    column = first_column(board_id, ColumnType.ACTIVE)
    if column is None:
        raise Conflict(
            "This board has no active column, so no agent can start on it.",
            code="no_active_column",
        )
    return column


def _has_board(project_id: int, board_id: int) -> bool:
    return Board.objects.filter(project_id=project_id, pk=board_id).exists()


def _named_column(
    project_id: int, board_id: int | None, column_id: int | None, name: str | None
) -> Column:
    columns = Column.objects.filter(project_id=project_id)
    if board_id is not None:
        columns = columns.filter(board_id=board_id)
    columns = columns.filter(pk=column_id) if column_id is not None else columns.filter(name=name)
    column = columns.order_by("board__position", "board_id", "position", "pk").first()
    if column is None:
        raise NotFound("There is no such column in this project.")
    return column


def _default_column(project_id: int, board_id: int | None) -> Column:
    """One statement to find it, since nearly every new card lands like this."""
    board = (
        "%s"
        if board_id is not None
        else ("(SELECT id FROM boards_board WHERE project_id = %s ORDER BY position, id LIMIT 1)")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {shape(Column).columns('c')} FROM boards_column c WHERE board_id = {board}"
            " ORDER BY CASE WHEN column_type = 'backlog' THEN 0 ELSE 1 END, position, id LIMIT 1",
            [project_id if board_id is None else board_id],
        )
        row = cursor.fetchone()
    if row is None:
        raise Conflict(
            "There is no column that the card could go into; create a board with columns first.",
            code="no_column",
        )
    return shape(Column).made(row)


def unread_counts(user_id: int, project_ids: list[int]) -> Mapping[int, int]:
    if not project_ids:
        return {}
    marks = ", ".join(["%s"] * len(project_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT c.project_id, COUNT(*) FROM cards_card c
            LEFT JOIN cards_cardread r ON r.card_id = c.id AND r.user_id = %s
            WHERE c.project_id IN ({marks}) AND c.noted_seq > COALESCE(r.seq, 0)
              AND (c.noted_by IS NULL OR c.noted_by <> %s)
            GROUP BY c.project_id
            """,
            [user_id, *project_ids, user_id],
        )
        return dict(cursor.fetchall())


def active_agent_counts(user_id: int, project_ids: list[int]) -> Mapping[int, int]:
    rows = (
        Card.objects.filter(project_id__in=project_ids, agent_status__in=LIVE)
        .values("project_id")
        .annotate(n=Count("pk"))
        .values_list("project_id", "n")
    )
    return dict(rows)
