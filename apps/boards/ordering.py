"""A new order of boards, or of a board's columns: the listed ones first, the others behind as they stood."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TypeVar

from apps.boards.events import BoardsReordered, ColumnsReordered
from apps.boards.models import Board, Column
from apps.common.errors import Invalid
from apps.common.ids import public_id
from apps.events import bus

Placed = TypeVar("Placed", Board, Column)


@bus.atomically
def reorder_boards(project_id: int, ids: Sequence[int], *, by: int) -> list[Board]:
    """All boards of the project in their new order. Invalid on a stranger and on what is said twice."""
    bus.lock(project_id)
    boards = _in_order(Board.objects.filter(project_id=project_id).order_by("position", "pk"))
    _refuse_strangers("board", ids, boards, "this project has no board")
    ordered, changed = _arranged(boards, ids)
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
    columns = _in_order(of_boards.order_by("position", "pk"))
    _refuse_strangers("column", ids, columns, "this project has no column")
    if len({each.board_id for each in columns.values()}) > 1:
        raise Invalid("ids: these columns stand on several boards; order those of one board.")
    ordered, changed = _arranged(columns, ids)
    if changed:
        Column.objects.bulk_update(changed, ["position"])
        event = ColumnsReordered(
            project_id=project_id,
            board_id=ordered[0].board_id,
            column_ids=[each.pk for each in ordered],
        )
        bus.publish(event, by=by)
    return ordered


def _in_order(rows: Iterable[Placed]) -> dict[int, Placed]:
    return {each.pk: each for each in rows}


def _refuse_strangers(
    kind: str, ids: Sequence[int], known: Container[int], what_is_missing: str
) -> None:
    seen: set[int] = set()
    for each in ids:
        if each not in known:
            raise Invalid(f"ids: {what_is_missing} {public_id(kind, each)}.")
        if each in seen:
            raise Invalid(f"ids: {public_id(kind, each)} is listed twice.")
        seen.add(each)


def _arranged(known: dict[int, Placed], ids: Sequence[int]) -> tuple[list[Placed], list[Placed]]:
    """All of them in the new order, and those whose position is another than before."""
    ordered = [known[pk] for pk in dict.fromkeys([*ids, *known])]
    changed = []
    for position, each in enumerate(ordered):
        if each.position != position:
            each.position = position
            changed.append(each)
    return ordered, changed
