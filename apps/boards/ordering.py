"""A new order of boards, or of a board's columns: the listed ones first, the others behind as they stood."""

from __future__ import annotations

from collections.abc import Sequence

from apps.boards.events import BoardsReordered, ColumnsReordered
from apps.boards.models import Board, Column
from apps.common.errors import Invalid
from apps.common.ordering import arranged
from apps.events import bus


@bus.atomically
def reorder_boards(project_id: int, ids: Sequence[int], *, by: int) -> list[Board]:
    """All boards of the project in their new order. Invalid on a stranger and on what is said twice."""
    bus.lock(project_id)
    boards = Board.objects.filter(project_id=project_id).order_by("position", "pk")
    ordered, changed = arranged("board", boards, ids, stranger="this project has no board")
    if changed:
        Board.objects.bulk_update(changed, ["position"])
        event = BoardsReordered(project_id=project_id, board_ids=[each.pk for each in ordered])
        bus.publish(event, by=by)
    return ordered


@bus.atomically
def reorder_columns(project_id: int, ids: Sequence[int], *, by: int) -> list[Column]:
    """All columns of the board that the listed ones stand on, in their new order.

    Invalid when they stand on several boards, on a stranger, and on what is said twice.
    """
    bus.lock(project_id)
    board_ids = (
        Column.objects.filter(project_id=project_id, pk__in=ids)
        .values_list("board_id", flat=True)
        .distinct()
    )
    of_boards = Column.objects.filter(board_id__in=list(board_ids))
    columns = of_boards.order_by("position", "pk")
    ordered, changed = arranged("column", columns, ids, stranger="this project has no column")
    if len({each.board_id for each in ordered}) > 1:
        raise Invalid("ids: these columns stand on several boards; order those of one board.")
    if changed:
        Column.objects.bulk_update(changed, ["position"])
        event = ColumnsReordered(
            project_id=project_id,
            board_id=ordered[0].board_id,
            column_ids=[each.pk for each in ordered],
        )
        bus.publish(event, by=by)
    return ordered
