from __future__ import annotations

from typing import Any

from apps.boards.models import Board, BoardTemplate, Column, ColumnType
from apps.common.fields import ChoiceField, ListField, PublicIdField, TextField, WholeField
from apps.common.ids import optional_id, public_id
from apps.common.ordering import MOST_LISTED
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.projects.models import PermissionMode

NAME_LIMIT = 200
PROMPT_LIMIT = 100_000


def board_shape(board: Board) -> dict[str, Any]:
    return {
        "id": public_id("board", board.pk),
        "name": board.name,
        "projectId": public_id("project", board.project_id),
        "position": board.position,
        "createdAt": iso(board.created_at),
        "updatedAt": iso(board.updated_at),
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
        "createdAt": iso(column.created_at),
        "updatedAt": iso(column.updated_at),
    }


def template_shape(template: BoardTemplate) -> dict[str, Any]:
    return {
        "id": public_id("template", template.pk),
        "name": template.name,
        "columns": template.columns,
        "builtIn": template.key is not None,
        "createdBy": optional_id("user", template.created_by_id),
        "createdAt": iso(template.created_at),
        "updatedAt": iso(template.updated_at),
    }


MOST_PLANNED = 50


class ReorderBoardsInput(Serializer):
    ids = ListField(child=PublicIdField("board"), max_length=MOST_LISTED)


class ReorderColumnsInput(Serializer):
    """At least one: it says which board is meant."""

    ids = ListField(child=PublicIdField("column"), allow_empty=False, max_length=MOST_LISTED)


class CreateBoardInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    template_id = PublicIdField("template", required=False, allow_null=True)


class UpdateBoardInput(Serializer):
    name = TextField(max_length=NAME_LIMIT, required=False)


def _prompt_field() -> TextField:
    return TextField(
        max_length=PROMPT_LIMIT,
        required=False,
        allow_null=True,
        allow_blank=True,
        trim_whitespace=False,
    )


class _ColumnSettings(Serializer):
    prompt = _prompt_field()
    wip_limit = WholeField(min_value=1, max_value=10_000, required=False, allow_null=True)
    permission_mode = ChoiceField(PermissionMode.choices, required=False, allow_null=True)


class CreateColumnInput(_ColumnSettings):
    name = TextField(max_length=NAME_LIMIT)
    column_type = ChoiceField(ColumnType.choices)
    board_id = PublicIdField("board")


class UpdateColumnInput(_ColumnSettings):
    name = TextField(max_length=NAME_LIMIT, required=False)


class ColumnPlanInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    column_type = ChoiceField(ColumnType.choices)
    prompt = _prompt_field()


class _ColumnPlans(ListField):
    """As templates store them: with the names on the wire, and a prompt only where there is one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            child=ColumnPlanInput(), allow_empty=False, max_length=MOST_PLANNED, **kwargs
        )

    def to_internal_value(self, data: Any) -> list[Any]:
        return [
            {
                "name": each["name"],
                "columnType": each["column_type"],
                **({"prompt": each["prompt"]} if each.get("prompt") else {}),
            }
            for each in super().to_internal_value(data)
        ]


class CreateTemplateInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    columns = _ColumnPlans()


class UpdateTemplateInput(Serializer):
    """`columns` replaces them all; boards that are there don't change."""

    name = TextField(max_length=NAME_LIMIT, required=False)
    columns = _ColumnPlans(required=False)
