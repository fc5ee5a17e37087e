"""What stands in the file, and what each entry may hold; what else stands there is ignored."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.boards.models import ColumnType
from apps.cards.serializers import (
    MOST_STEPS,
    TITLE_LIMIT,
    BlockersField,
    LabelsField,
    ModeField,
    PromptField,
)
from apps.common.fields import (
    ChoiceField,
    FlagField,
    ListField,
    PublicIdField,
    TextField,
    TimeField,
    WholeField,
)
from apps.common.serializers import Serializer
from apps.common.uploads import bare_name, media_type
from apps.projects.models import PermissionMode
from apps.projects.serializers import NAME_LIMIT, UpdateProjectInput
from apps.runs.models import FINAL
from apps.scripts.serializers import COMMAND_LIMIT

FORMAT_VERSION = 1

# What an import takes, and so the most that an export writes: 10,000 cards with a prompt of some pages each.
LARGEST_FILE = 200_000_000
# More than the largest project has; fewer than would keep everybody else waiting for long.
MOST = {
    "boards": 1_000,
    "columns": 10_000,
    "cards": 50_000,
    "pipelines": 50_000,
    "sessions": 100_000,
    "scripts": 200,
    "attachments": 50_000,
}

_MOST_COUNTED = (1 << 53) - 1
_FINAL = [str(state) for state in FINAL]


def _any_text(limit: int, **kwargs: Any) -> TextField:
    return TextField(max_length=limit, allow_blank=True, trim_whitespace=False, **kwargs)


class ReasonEntry(Serializer):
    code = TextField(max_length=40)
    message = _any_text(100_000)


class ProjectEntry(UpdateProjectInput):
    name = TextField(max_length=NAME_LIMIT)


class BoardEntry(Serializer):
    id = PublicIdField("board")
    name = TextField(max_length=NAME_LIMIT)


class ColumnEntry(Serializer):
    id = PublicIdField("column")
    board_id = PublicIdField("board")
    name = TextField(max_length=NAME_LIMIT)
    column_type = ChoiceField(ColumnType.choices)
    prompt = PromptField(required=False)
    wip_limit = WholeField(min_value=1, max_value=10_000, required=False, allow_null=True)
    permission_mode = ModeField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("wip_limit") is not None and attrs["column_type"] != ColumnType.ACTIVE:
            raise serializers.ValidationError({"wipLimit": "only an active column can have one"})
        return attrs


class CardEntry(Serializer):
    id = PublicIdField("card")
    column_id = PublicIdField("column")
    title = TextField(max_length=TITLE_LIMIT)
    prompt = PromptField(required=False)
    labels = LabelsField(required=False)
    auto_mode = FlagField(required=False)
    pending_approval = FlagField(required=False)
    permission_mode = ModeField()
    defer = FlagField(required=False)
    deferred_reason = ReasonEntry(required=False, allow_null=True)
    blocked_by = BlockersField()
    external_id = TextField(max_length=200, required=False, allow_null=True)
    completed_at = TimeField(required=False, allow_null=True)


class StepEntry(Serializer):
    column_id = PublicIdField("column")
    prompt = PromptField(required=False)


class PipelineEntry(Serializer):
    card_id = PublicIdField("card")
    steps = ListField(child=StepEntry(), allow_empty=False, max_length=MOST_STEPS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        columns = [step["column_id"] for step in attrs["steps"]]
        if len(set(columns)) < len(columns):
            raise serializers.ValidationError({"steps": "a column stands in it twice"})
        return attrs


def _count() -> WholeField:
    return WholeField(min_value=0, max_value=_MOST_COUNTED, required=False)


class SessionEntry(Serializer):
    """One that has ended."""

    card_id = PublicIdField("card")
    column_id = PublicIdField("column", required=False, allow_null=True)
    column_name = TextField(max_length=NAME_LIMIT, required=False, allow_null=True)
    agent = TextField(max_length=60, required=False, allow_null=True)
    model = TextField(max_length=200, required=False, allow_null=True)
    permission_mode = ChoiceField(PermissionMode.choices, required=False)
    status = ChoiceField(_FINAL)
    error = ReasonEntry(required=False, allow_null=True)
    started_at = TimeField(required=False, allow_null=True)
    ended_at = TimeField(required=False, allow_null=True)
    input_tokens = _count()
    output_tokens = _count()
    cached_tokens = _count()
    cost_usd = serializers.FloatField(min_value=0, max_value=1e12, required=False, allow_null=True)


class ScriptEntry(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    command = TextField(max_length=COMMAND_LIMIT)


def _a_bare_name(value: str) -> None:
    if bare_name(value) is None:
        raise serializers.ValidationError("must be the name of a file, without a directory")


def _a_media_type(value: str) -> None:
    if media_type(value) != value:
        raise serializers.ValidationError("must be a media type like text/plain")


class AttachmentEntry(Serializer):
    """What a file was called; the file isn't here."""

    card_id = PublicIdField("card")
    filename = _any_text(255, validators=[_a_bare_name])
    content_type = TextField(max_length=100, validators=[_a_media_type])
    size = _count()
