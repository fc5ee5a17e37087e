"""Boards and columns: positions are 0-based and gapless, what is new comes last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import F

from apps.boards import deleting
from apps.boards.events import (
    BoardCreated,
    BoardDeleted,
    BoardUpdated,
    ColumnCreated,
    ColumnDeleted,
    ColumnUpdated,
)
from apps.boards.models import Board, BoardTemplate, Column, ColumnType
from apps.boards.templates import DEFAULT, MAIN_BOARD, ColumnPlan
from apps.common.errors import Conflict, Invalid, NotFound
from apps.events import bus
from apps.projects.models import Project


def _lay_out(project_id: int, name: str, plans: Sequence[ColumnPlan]) -> tuple[Board, list[Column]]:
    position = Board.objects.filter(project_id=project_id).count()
    board = Board.objects.create(project_id=project_id, name=name, position=position)
    columns = [
        Column.objects.create(
            project_id=project_id,
            board=board,
            name=plan["name"],
            column_type=plan["columnType"],
            position=place,
            prompt=plan.get("prompt"),
        )
        for place, plan in enumerate(plans)
    ]
    return board, columns


def make_first_board(project: Project) -> Board:
    """For a project that is just being made: nobody can be listening, so it takes no events."""
    return _lay_out(project.pk, MAIN_BOARD, DEFAULT)[0]


@bus.atomically
def create_board(
    project_id: int, *, name: str, by: int, template: BoardTemplate | None = None
) -> Board:
    """With the columns of the template, else those that every project begins with."""
    bus.lock(project_id)
    board, columns = _lay_out(project_id, name, DEFAULT if template is None else template.columns)
    bus.publish(BoardCreated(project_id=project_id, board=board), by=by)
    for column in columns:
        bus.publish(ColumnCreated(project_id=project_id, column=column), by=by)
    return board


@bus.atomically
def rename_board(board: Board, *, name: str, by: int) -> Board:
    bus.lock(board.project_id)
    board = _still_there(board)
    if name != board.name:
        board.name = name
        board.save(update_fields=["name", "updated_at"])
        bus.publish(BoardUpdated(project_id=board.project_id, board=board), by=by)
    return board


@bus.atomically
def delete_board(board: Board, *, by: int) -> None:
    """With its columns and cards; their agents stop, their worktrees go, their branches stay."""
    bus.lock(board.project_id)
    board = _still_there(board)
    patches = deleting.announce(board)
    project_id, board_id = board.project_id, board.pk
    board.delete()
    behind = Board.objects.filter(project_id=project_id, position__gt=board.position)
    behind.update(position=F("position") - 1)
    event = BoardDeleted(project_id=project_id, board_id=board_id, patches=patches)
    bus.publish(event, by=by)


@bus.atomically
def create_column(
    board: Board,
    *,
    name: str,
    column_type: str,
    by: int,
    prompt: str | None = None,
    wip_limit: int | None = None,
    permission_mode: str | None = None,
) -> Column:
    bus.lock(board.project_id)
    board = _still_there(board)
    _check_limit(column_type, wip_limit)
    column = Column.objects.create(
        project_id=board.project_id,
        board=board,
        name=name,
        column_type=column_type,
        position=Column.objects.filter(board=board).count(),
        prompt=prompt or None,
        wip_limit=wip_limit,
        permission_mode=permission_mode,
    )
    bus.publish(ColumnCreated(project_id=board.project_id, column=column), by=by)
    return column


@bus.atomically
def update_column(column: Column, *, by: int, **changes: Any) -> Column:
    """`changes`: name, prompt, wip_limit, permission_mode. An agent at work keeps the prompt it was given."""
    bus.lock(column.project_id)
    column = _column_still_there(column)
    if "prompt" in changes:
        changes["prompt"] = changes["prompt"] or None
    changed = [name for name, value in changes.items() if getattr(column, name) != value]
    if not changed:
        return column
    for name in changed:
        setattr(column, name, changes[name])
    _check_limit(column.column_type, column.wip_limit)
    column.save(update_fields=[*changed, "updated_at"])
    bus.publish(ColumnUpdated(project_id=column.project_id, column=column), by=by)
    return column


@bus.atomically
def delete_column(column: Column, *, by: int) -> None:
    bus.lock(column.project_id)
    column = _column_still_there(column)
    # The database knows of the cards by the foreign key that points here; this app must not.
    if _has_cards(column):
        raise Conflict(
            "There are cards in this column: move or delete them first.", code="column_not_empty"
        )
    project_id, column_id, board_id = column.project_id, column.pk, column.board_id
    column.delete()
    behind = Column.objects.filter(board_id=board_id, position__gt=column.position)
    behind.update(position=F("position") - 1)
    bus.publish(ColumnDeleted(project_id=project_id, column_id=column_id, board_id=board_id), by=by)


def _has_cards(column: Column) -> bool:
    return Column.objects.filter(pk=column.pk, cards__isnull=False).exists()


def _check_limit(column_type: str, wip_limit: int | None) -> None:
    if wip_limit is not None and column_type != ColumnType.ACTIVE:
        raise Invalid(
            "wipLimit: only an active column can have one, since agents work in no other."
        )


def _still_there(board: Board) -> Board:
    found = Board.objects.filter(pk=board.pk).first()
    if found is None:
        raise NotFound("Somebody has just deleted this board.")
    return found


def _column_still_there(column: Column) -> Column:
    found = Column.objects.filter(pk=column.pk).first()
    if found is None:
        raise NotFound("Somebody has just deleted this column.")
    return found
