from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from apps.boards import serializers as ins
from apps.boards.template_views import TemplatesView, TemplateView
from apps.boards.views import BoardViewSet, ColumnViewSet
from apps.common.described import Operation, Operations, Query
from apps.common.shapes import BoardId, ColumnId, Moment, ProjectId, TemplateId, UserId

TAG = "Boards"

ColumnType = Literal["backlog", "active", "done", "archive"]


class Board(TypedDict):
    id: BoardId
    name: str
    projectId: ProjectId
    position: int
    createdAt: Moment
    updatedAt: Moment


class Column(TypedDict):
    """`active` starts an agent when a card enters it; `done` and `archive` complete the card."""

    id: ColumnId
    name: str
    columnType: ColumnType
    position: int
    boardId: BoardId
    projectId: ProjectId
    prompt: str | None
    wipLimit: int | None
    permissionMode: Literal["unattended", "ask", "plan"] | None
    createdAt: Moment
    updatedAt: Moment


class PlannedColumn(TypedDict):
    name: str
    columnType: ColumnType
    prompt: NotRequired[str]


class BoardTemplate(TypedDict):
    id: TemplateId
    name: str
    columns: list[PlannedColumn]
    builtIn: bool
    createdBy: UserId | None
    createdAt: Moment
    updatedAt: Moment


class BoardDeletedEvent(TypedDict):
    """`patches` are where work is saved that only the cards' worktrees held."""

    id: BoardId
    projectId: ProjectId
    patches: list[str]


class BoardsReorderedEvent(TypedDict):
    ids: list[BoardId]
    projectId: ProjectId


class ColumnDeletedEvent(TypedDict):
    id: ColumnId
    boardId: BoardId
    projectId: ProjectId


class ColumnsReorderedEvent(TypedDict):
    ids: list[ColumnId]
    boardId: BoardId
    projectId: ProjectId


OPERATIONS: Operations = {
    BoardViewSet: {
        "list": Operation("A project's boards", [Board], etag=True),
        "create": Operation(
            "Make a board, from a template if one is named", Board, ins.CreateBoardInput, status=201
        ),
        "partial_update": Operation("Rename a board", Board, ins.UpdateBoardInput),
        "destroy": Operation("Delete a board with its columns and cards"),
        "reorder": Operation("Put boards into another order", [Board], ins.ReorderBoardsInput),
    },
    ColumnViewSet: {
        "list": Operation(
            "Columns of a project's boards",
            [Column],
            query={"boardId": Query.id("board", "Only those of this board.")},
            etag=True,
        ),
        "create": Operation("Make a column", Column, ins.CreateColumnInput, status=201),
        "partial_update": Operation("Change a column", Column, ins.UpdateColumnInput),
        "destroy": Operation("Delete an empty column", conflicts=("column_not_empty",)),
        "reorder": Operation(
            "Put a board's columns into another order", [Column], ins.ReorderColumnsInput
        ),
    },
    TemplatesView: {
        "get": Operation("Templates of boards", [BoardTemplate], etag=True),
        "post": Operation("Make a template", BoardTemplate, ins.CreateTemplateInput, status=201),
    },
    TemplateView: {
        "patch": Operation(
            "Change a template", BoardTemplate, ins.UpdateTemplateInput, conflicts=("built_in",)
        ),
        "delete": Operation("Delete a template", conflicts=("built_in",)),
    },
}

EVENTS = {
    "board.created": Board,
    "board.updated": Board,
    "board.deleted": BoardDeletedEvent,
    "board.reordered": BoardsReorderedEvent,
    "column.created": Column,
    "column.updated": Column,
    "column.deleted": ColumnDeletedEvent,
    "column.reordered": ColumnsReorderedEvent,
}
