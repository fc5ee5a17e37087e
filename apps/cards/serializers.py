from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from rest_framework import serializers

from apps.cards.models import Attachment
from apps.cards.rows import CardDetailRow, CardRow, Step, is_unread
from apps.common.fields import (
    ChoiceField,
    FlagField,
    ListField,
    PublicIdField,
    TextField,
    WholeField,
)
from apps.common.ids import optional_id, public_id
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.host.changes import Diff
from apps.projects.models import PermissionMode
from apps.runs.models import LIVE

TITLE_LIMIT = 500
PROMPT_LIMIT = 100_000
LABEL_LIMIT = 100
MOST_LABELS = 20
MOST_BLOCKERS = 200
MOST_STEPS = 1_000
# All of them change in one transaction, during which nobody else does.
MOST_AT_ONCE = 200
BULK_ACTIONS = ("move", "delete", "complete", "label", "autoMode", "start", "cancel")

_LIVE = frozenset(str(state) for state in LIVE)


def is_live(agent_status: str | None) -> bool:
    return agent_status in _LIVE


def deferred_reason(row: CardRow) -> dict[str, str] | None:
    if row.deferred_code is None:
        return None
    return {"code": row.deferred_code, "message": row.deferred_message or ""}


def card_summary(row: CardRow) -> dict[str, Any]:
    """The card in lists and events; `unread`, which depends on who asks, is laid over it in lists."""
    blockers = sorted(int(each) for each in row.blockers.split(",")) if row.blockers else ()
    return {
        "id": public_id("card", row.id),
        "title": row.title,
        "columnId": public_id("column", row.column_id),
        "position": row.position,
        "hasActiveAgent": row.agent_status in _LIVE,
        "projectId": public_id("project", row.project_id),
        "boardId": public_id("board", row.board_id),
        "labels": [] if row.labels == "[]" else orjson.loads(row.labels),
        "autoMode": row.auto_mode,
        "pendingApproval": row.pending_approval,
        "permissionMode": row.permission_mode,
        "deferred": row.deferred_code is not None,
        "deferredReason": deferred_reason(row),
        "agentStatus": row.agent_status,
        "credentialId": optional_id("credential", row.credential_id),
        "branch": row.branch,
        "blockedBy": [public_id("card", each) for each in blockers],
        "externalId": row.external_id,
        "completedAt": iso(row.completed_at),
        "createdBy": optional_id("user", row.created_by),
        "createdAt": iso(row.created_at),
        "updatedAt": iso(row.updated_at),
    }


def card_in_list(detail: CardDetailRow, user_id: int) -> dict[str, Any]:
    unread = is_unread(detail.row, read_seq=detail.read_seq, user_id=user_id)
    return {**card_summary(detail.row), "unread": unread}


def card_detail(detail: CardDetailRow, *, user_id: int) -> dict[str, Any]:
    return {**card_in_list(detail, user_id), "prompt": detail.prompt}


def pipeline_shape(steps: Sequence[Step]) -> dict[str, Any]:
    return {
        "steps": [
            {
                "columnId": public_id("column", step.column.pk),
                "columnName": step.column.name,
                "prompt": step.instruction or "",
                "inherited": not step.prompt,
            }
            for step in steps
        ]
    }


def attachment_shape(attachment: Attachment) -> dict[str, Any]:
    wire = public_id("attachment", attachment.pk)
    return {
        "id": wire,
        "filename": attachment.filename,
        "contentType": attachment.content_type,
        "size": attachment.size,
        "url": f"/api/attachments/{wire}",
        "available": attachment.state == Attachment.State.READY,
        "createdBy": optional_id("user", attachment.created_by_id),
        "createdAt": iso(attachment.created_at),
    }


def diff_shape(diff: Diff) -> dict[str, Any]:
    return {
        "diff": diff.text,
        "stats": {
            "filesChanged": diff.files_changed,
            "insertions": diff.insertions,
            "deletions": diff.deletions,
        },
        "truncated": diff.truncated,
    }


def distinct(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


class LabelsField(ListField):
    """Free text; said twice is said once."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=TextField(max_length=LABEL_LIMIT), **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        labels: list[str] = distinct(super().to_internal_value(data))
        if len(labels) > MOST_LABELS:
            raise serializers.ValidationError(f"a card can have at most {MOST_LABELS} labels")
        return labels


class PromptField(TextField):
    """Kept as it was typed; null is no prompt."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=PROMPT_LIMIT,
            allow_blank=True,
            allow_null=True,
            trim_whitespace=False,
            **kwargs,
        )


class ModeField(ChoiceField):
    """The card's own permission mode; null is that of its column or project."""

    def __init__(self) -> None:
        super().__init__(PermissionMode.choices, required=False, allow_null=True)


class BlockersField(ListField):
    """Cards that must be complete before this one starts."""

    def __init__(self) -> None:
        super().__init__(child=PublicIdField("card"), max_length=MOST_BLOCKERS, required=False)


class CreateCardInput(Serializer):
    """`start` lands the card in an active column; the same `externalId` finds the card it made before."""

    title = TextField(max_length=TITLE_LIMIT)
    prompt = PromptField(required=False)
    labels = LabelsField(required=False)
    board_id = PublicIdField("board", required=False, allow_null=True)
    column_id = PublicIdField("column", required=False, allow_null=True)
    column_name = TextField(max_length=200, required=False, allow_null=True)
    start = FlagField(required=False)
    defer = FlagField(required=False)
    auto_mode = FlagField(required=False)
    external_id = TextField(max_length=200, required=False, allow_null=True)
    permission_mode = ModeField()
    blocked_by = BlockersField()


class UpdateCardInput(Serializer):
    title = TextField(max_length=TITLE_LIMIT, required=False)
    prompt = PromptField(required=False)
    labels = LabelsField(required=False)
    permission_mode = ModeField()
    blocked_by = BlockersField()


class MoveCardInput(Serializer):
    """A position beyond the end is the end."""

    column_id = PublicIdField("column")
    position = WholeField(required=False, allow_null=True)
    defer = FlagField(required=False)


class StepInput(Serializer):
    """`inherited`, as answers have it, is the column's own prompt, whatever `prompt` says."""

    column_id = PublicIdField("column")
    prompt = PromptField(required=False)
    inherited = FlagField(required=False)


class PipelineInput(Serializer):
    """All the steps in their order; none at all restores the board's."""

    steps = ListField(child=StepInput(), max_length=MOST_STEPS)


class AutoModeInput(Serializer):
    enabled = FlagField()


class BulkInput(Serializer):
    """`action` says which of the others count: columnId, position and defer with `move`, force with
    `delete`, addLabels and removeLabels with `label`, enabled with `autoMode`.
    """

    card_ids = ListField(child=PublicIdField("card"), allow_empty=False, max_length=MOST_AT_ONCE)
    action = ChoiceField(BULK_ACTIONS)
    column_id = PublicIdField("column", required=False)
    position = WholeField(required=False, allow_null=True)
    defer = FlagField(required=False)
    force = FlagField(required=False)
    add_labels = LabelsField(required=False)
    remove_labels = LabelsField(required=False)
    enabled = FlagField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(set(attrs["card_ids"])) < len(attrs["card_ids"]):
            raise serializers.ValidationError({"cardIds": "a card is listed twice"})
        action = attrs["action"]
        if action == "move" and "column_id" not in attrs:
            raise serializers.ValidationError({"columnId": "say where the cards go"})
        if action == "autoMode" and "enabled" not in attrs:
            raise serializers.ValidationError({"enabled": "say whether it is on or off"})
        if action == "label" and not (attrs.get("add_labels") or attrs.get("remove_labels")):
            raise serializers.ValidationError({"addLabels": "name labels to add or to remove"})
        return attrs
