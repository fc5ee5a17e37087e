from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from apps.boards.models import Board, Column
from apps.boards.serializers import board_shape, column_shape
from apps.common.ids import public_id
from apps.events.bus import ProjectEvent


@dataclass(frozen=True, kw_only=True)
class _BoardEvent(ProjectEvent):
    board: Board

    def data(self) -> dict[str, Any]:
        return board_shape(self.board)


class BoardCreated(_BoardEvent):
    """Its columns follow, each with an event of its own."""

    type: ClassVar[str] = "board.created"


class BoardUpdated(_BoardEvent):
    type: ClassVar[str] = "board.updated"


@dataclass(frozen=True, kw_only=True)
class BoardDeleted(ProjectEvent):
    """Its columns and cards are gone with it; boards behind it move up by one.

    `patches` are where work is saved that only the cards' worktrees held, if there was any.
    """

    type: ClassVar[str] = "board.deleted"
    board_id: int
    patches: list[str]

    def data(self) -> dict[str, Any]:
        return {
            "id": public_id("board", self.board_id),
            "projectId": public_id("project", self.project_id),
            "patches": self.patches,
        }


@dataclass(frozen=True, kw_only=True)
class _ColumnEvent(ProjectEvent):
    column: Column

    def data(self) -> dict[str, Any]:
        return column_shape(self.column)


class ColumnCreated(_ColumnEvent):
    type: ClassVar[str] = "column.created"


class ColumnUpdated(_ColumnEvent):
    type: ClassVar[str] = "column.updated"


@dataclass(frozen=True, kw_only=True)
class ColumnDeleted(ProjectEvent):
    """Columns of its board that stood behind it move up by one."""

    type: ClassVar[str] = "column.deleted"
    column_id: int
    board_id: int

    def data(self) -> dict[str, Any]:
        return {
            "id": public_id("column", self.column_id),
            "boardId": public_id("board", self.board_id),
            "projectId": public_id("project", self.project_id),
        }


@dataclass(frozen=True, kw_only=True)
class BoardsReordered(ProjectEvent):
    """All the project's boards, each at the position that its id has in `ids`."""

    type: ClassVar[str] = "board.reordered"
    board_ids: list[int]

    def data(self) -> dict[str, Any]:
        return {
            "ids": [public_id("board", each) for each in self.board_ids],
            "projectId": public_id("project", self.project_id),
        }


@dataclass(frozen=True, kw_only=True)
class ColumnsReordered(ProjectEvent):
    """All the board's columns, each at the position that its id has in `ids`."""

    type: ClassVar[str] = "column.reordered"
    board_id: int
    column_ids: list[int]

    def data(self) -> dict[str, Any]:
        return {
            "ids": [public_id("column", each) for each in self.column_ids],
            "boardId": public_id("board", self.board_id),
            "projectId": public_id("project", self.project_id),
        }
