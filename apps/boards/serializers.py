from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from apps.boards.models import Board, Column, ColumnType
from apps.common.fields import PublicIdField, TextField, WholeField
from apps.common.ids import public_id
from apps.common.serializers import Serializer
from apps.projects.models import PermissionMode

NAME_LIMIT = 200
PROMPT_LIMIT = 100_000


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def board_shape(board: Board) -> dict[str, Any]:
    return {
        "id": public_id("board", board.pk),
        "name": board.name,
        "projectId": public_id("project", board.project_id),
        "position": board.position,
        "createdAt": _iso(board.created_at),
        "updatedAt": _iso(board.updated_at),
    }


def column_shape(column: Column) -> dict[str, Any]:
    return {
        "id": public_id("column", column.pk),
        "name": column.name,
        "columnType": column.column_type,
        "position": column.position,
        "boardId": public_id("board", column.board_id),
        "projectId": public_id("project", column.project_id),
        "prompt": column.prompt,
        "wipLimit": column.wip_limit,
        "permissionMode": column.permission_mode,
        "createdAt": _iso(column.created_at),
        "updatedAt": _iso(column.updated_at),
    }


# More than anybody's project has; what is listed is looked up one by one.
MOST_LISTED = 1_000


class ReorderBoardsInput(Serializer):
    ids = serializers.ListField(child=PublicIdField("board"), max_length=MOST_LISTED)


class ReorderColumnsInput(Serializer):
    """At least one: it says which board is meant."""

    ids = serializers.ListField(
        child=PublicIdField("column"), allow_empty=False, max_length=MOST_LISTED
    )


class CreateBoardInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    template_id = PublicIdField("template", required=False, allow_null=True)


class UpdateBoardInput(Serializer):
    name = TextField(max_length=NAME_LIMIT, required=False)


class _ColumnSettings(Serializer):
    prompt = TextField(
        max_length=PROMPT_LIMIT,
        required=False,
        allow_null=True,
        allow_blank=True,
        trim_whitespace=False,
    )
    wip_limit = WholeField(min_value=1, max_value=10_000, required=False, allow_null=True)
    permission_mode = serializers.ChoiceField(
        PermissionMode.choices, required=False, allow_null=True
    )


class CreateColumnInput(_ColumnSettings):
    name = TextField(max_length=NAME_LIMIT)
    column_type = serializers.ChoiceField(ColumnType.choices)
    board_id = PublicIdField("board")


class UpdateColumnInput(_ColumnSettings):
    name = TextField(max_length=NAME_LIMIT, required=False)
