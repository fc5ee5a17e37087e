from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.agents.models import AgentSession
from apps.agents.serializers import iso
from apps.boards.models import Board, Column
from apps.cards.models import Attachment, Card, Dependency, PipelineStep
from apps.common.errors import Conflict
from apps.common.ids import optional_id, public_id
from apps.common.serializers import camel
from apps.events import bus
from apps.operations.transfer.entries import FORMAT_VERSION, MOST
from apps.projects import settings
from apps.projects.models import Project
from apps.projects.services import fresh
from apps.runs.models import FINAL
from apps.scripts.models import Script


@bus.atomically
def document(project: Project) -> dict[str, Any]:
    """The whole project as it is at one moment. Lists are in the order that an import keeps."""
    bus.lock(project.pk)
    project = fresh(project)
    columns = Column.objects.filter(project=project).order_by(
        "board__position", "board", "position", "pk"
    )
    cards = list(
        Card.objects.filter(project=project).order_by(
            "column__board__position",
            "column__board",
            "column__position",
            "column",
            "position",
            "pk",
        )
    )
    found: dict[str, Any] = {
        "formatVersion": FORMAT_VERSION,
        "exportedAt": iso(timezone.now()),
        "project": _project(project),
        "boards": [
            {"id": public_id("board", each.pk), "name": each.name}
            for each in Board.objects.filter(project=project).order_by("position", "pk")
        ],
        "columns": [_column(each) for each in columns],
        "cards": _cards(project, cards),
        "pipelines": _pipelines(project, cards),
        "sessions": _sessions(project),
        "scripts": [
            {"id": public_id("script", each.pk), "name": each.name, "command": each.command}
            for each in Script.objects.filter(project=project).order_by("position", "pk")
        ],
        "attachments": _attachments(project),
    }
    for name, most in MOST.items():
        if len(found[name]) > most:
            raise too_large(f"{most:,} {name}")
    return found


def too_large(most: str) -> Conflict:
    return Conflict(
        f"The project can't be exported: a file may have {most} at most to be imported again, and here is"
        " more. Delete what is no longer needed, such as cards that were done long ago.",
        code="too_large_to_import",
    )


def _project(project: Project) -> dict[str, Any]:
    """Of its settings those that people made; those of the repository come with that."""
    own = {camel(name): project.own_settings.get(name) for name in settings.DEFAULTS}
    return {"id": public_id("project", project.pk), "name": project.name, **own}


def _column(column: Column) -> dict[str, Any]:
    return {
        "id": public_id("column", column.pk),
        "boardId": public_id("board", column.board_id),
        "name": column.name,
        "columnType": column.column_type,
        "prompt": column.prompt,
        "wipLimit": column.wip_limit,
        "permissionMode": column.permission_mode,
    }


def _cards(project: Project, cards: list[Card]) -> list[dict[str, Any]]:
    blockers: dict[int, list[int]] = {}
    place = {card.pk: number for number, card in enumerate(cards)}
    pairs = Dependency.objects.filter(card__project=project)
    for card_id, blocker_id in pairs.values_list("card_id", "blocker_id"):
        blockers.setdefault(card_id, []).append(blocker_id)
    return [
        {
            "id": public_id("card", card.pk),
            "columnId": public_id("column", card.column_id),
            "title": card.title,
            "prompt": card.prompt,
            "labels": card.labels,
            "autoMode": card.auto_mode,
            "pendingApproval": card.pending_approval,
            "permissionMode": card.permission_mode,
            "defer": card.defer,
            "deferredReason": card.deferred_code
            and {"code": card.deferred_code, "message": card.deferred_message or ""},
            "blockedBy": [
                public_id("card", each)
                for each in sorted(blockers.get(card.pk, []), key=place.__getitem__)
            ],
            "externalId": card.external_id,
            "completedAt": iso(card.completed_at),
            "createdAt": iso(card.created_at),
        }
        for card in cards
    ]


def _pipelines(project: Project, cards: list[Card]) -> list[dict[str, Any]]:
    found: dict[int, list[dict[str, Any]]] = {}
    steps = PipelineStep.objects.filter(card__project=project).order_by("card", "position", "pk")
    for step in steps:
        entry = {"columnId": public_id("column", step.column_id), "prompt": step.prompt}
        found.setdefault(step.card_id, []).append(entry)
    return [
        {"cardId": public_id("card", card.pk), "steps": found[card.pk]}
        for card in cards
        if card.pk in found
    ]


def _sessions(project: Project) -> list[dict[str, Any]]:
    known = set(Column.objects.filter(project=project).values_list("pk", flat=True))
    ended = AgentSession.objects.filter(card__project=project, state__in=FINAL).order_by("pk")
    return [
        {
            "id": public_id("session", each.pk),
            "cardId": public_id("card", each.card_id),
            "columnId": optional_id("column", each.column_id if each.column_id in known else None),
            "columnName": each.column_name,
            "agent": each.preset,
            "model": each.model,
            "permissionMode": each.permission_mode,
            "status": each.state,
            "error": each.error_code
            and {"code": each.error_code, "message": each.error_message or ""},
            "startedAt": iso(each.started_at),
            "endedAt": iso(each.ended_at),
            "createdAt": iso(each.created_at),
            "inputTokens": each.input_tokens,
            "outputTokens": each.output_tokens,
            "cachedTokens": each.cached_tokens,
            "costUsd": each.cost_usd,
        }
        for each in ended
    ]


def _attachments(project: Project) -> list[dict[str, Any]]:
    rows = Attachment.objects.filter(card__project=project)
    return [
        {
            "id": public_id("attachment", each.pk),
            "cardId": public_id("card", each.card_id or 0),
            "filename": each.filename,
            "contentType": each.content_type,
            "size": each.size,
        }
        for each in rows.exclude(state=Attachment.State.RECEIVING).order_by("pk")
    ]
