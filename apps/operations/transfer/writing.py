from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, BinaryIO

import orjson
from django.utils import timezone

from apps.agents.models import AgentSession
from apps.boards.models import Board, Column
from apps.cards.models import Attachment, Card, Dependency, PipelineStep
from apps.common.errors import Conflict
from apps.common.ids import optional_id, public_id
from apps.common.serializers import camel
from apps.common.sizes import size
from apps.common.snapshot import snapshot
from apps.common.times import iso
from apps.operations.transfer import entries
from apps.projects import settings
from apps.projects.models import Project
from apps.projects.services import fresh
from apps.runs.models import FINAL
from apps.scripts.models import Script

Entry = dict[str, Any]

_AT_ONCE = 500
_COLUMN_ORDER = ("board__position", "board", "position", "pk")
_CARD_ORDER = (
    "column__board__position",
    "column__board",
    "column__position",
    "column",
    "position",
    "pk",
)


def write(project: Project, file: BinaryIO) -> None:
    """The whole project as it is at one moment. Lists are in the order that an import keeps.

    Raises Conflict as soon as there is more than an import takes.
    """
    out = _Output(file)
    with snapshot():
        project = fresh(project)
        out.write(b'{\n"formatVersion": %d,\n' % entries.FORMAT_VERSION)
        out.write(b'"exportedAt": "%b",\n' % str(iso(timezone.now())).encode())
        out.write(b'"project": ' + orjson.dumps(_project(project)))
        out.write_list("boards", _boards(project))
        out.write_list("columns", _columns(project))
        out.write_list("cards", _cards(project))
        out.write_list("pipelines", _pipelines(project))
        out.write_list("sessions", _sessions(project))
        out.write_list("scripts", _scripts(project))
        out.write_list("attachments", _attachments(project))
        out.write(b"\n}\n")


class _Output:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > entries.LARGEST_FILE:
            raise _too_large(size(entries.LARGEST_FILE))
        self._file.write(piece)

    def write_list(self, name: str, found: Iterable[Entry]) -> None:
        """A line for each."""
        most = entries.MOST[name]
        self.write(b',\n"%b": [' % name.encode())
        for number, each in enumerate(found):
            if number == most:
                raise _too_large(f"{most:,} {name}")
            self.write((b",\n" if number else b"\n") + orjson.dumps(each))
        self.write(b"\n]")


def _too_large(most: str) -> Conflict:
    return Conflict(
        f"The project can't be exported: a file may have {most} at most to be imported again, and here is"
        " more. Delete what is no longer needed, such as cards that were done long ago.",
        code="too_large_to_import",
    )


def _project(project: Project) -> Entry:
    """Of its settings those that people made; those of the repository come with that."""
    own = {camel(name): project.own_settings.get(name) for name in settings.DEFAULTS}
    return {"id": public_id("project", project.pk), "name": project.name, **own}


def _boards(project: Project) -> Iterator[Entry]:
    for each in Board.objects.filter(project=project).order_by("position", "pk"):
        yield {"id": public_id("board", each.pk), "name": each.name}


def _columns(project: Project) -> Iterator[Entry]:
    rows = Column.objects.filter(project=project).order_by(*_COLUMN_ORDER)
    for column in rows.iterator(_AT_ONCE):
        yield {
            "id": public_id("column", column.pk),
            "boardId": public_id("board", column.board_id),
            "name": column.name,
            "columnType": column.column_type,
            "prompt": column.prompt,
            "wipLimit": column.wip_limit,
            "permissionMode": column.permission_mode,
        }


def _cards(project: Project) -> Iterator[Entry]:
    cards = Card.objects.filter(project=project).order_by(*_CARD_ORDER)
    place = {pk: number for number, pk in enumerate(cards.values_list("pk", flat=True))}
    blockers: dict[int, list[int]] = {}
    pairs = Dependency.objects.filter(card__project=project)
    for card_id, blocker_id in pairs.values_list("card_id", "blocker_id"):
        blockers.setdefault(card_id, []).append(blocker_id)
    for card in cards.iterator(_AT_ONCE):
        yield {
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


def _pipelines(project: Project) -> Iterator[Entry]:
    steps = PipelineStep.objects.filter(card__project=project).order_by(
        *(f"card__{name}" for name in _CARD_ORDER), "position", "pk"
    )
    for card_id, own in groupby(steps.iterator(_AT_ONCE), lambda step: step.card_id):
        yield {
            "cardId": public_id("card", card_id),
            "steps": [
                {"columnId": public_id("column", step.column_id), "prompt": step.prompt}
                for step in own
            ],
        }


def _sessions(project: Project) -> Iterator[Entry]:
    known = set(Column.objects.filter(project=project).values_list("pk", flat=True))
    ended = AgentSession.objects.filter(card__project=project, state__in=FINAL).order_by("pk")
    for each in ended.iterator(_AT_ONCE):
        yield {
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


def _scripts(project: Project) -> Iterator[Entry]:
    for each in Script.objects.filter(project=project).order_by("position", "pk"):
        yield {
            "id": public_id("script", each.pk),
            "name": each.name,
            "command": each.command,
        }


def _attachments(project: Project) -> Iterator[Entry]:
    rows = Attachment.objects.filter(card__project=project)
    received = rows.exclude(state=Attachment.State.RECEIVING).order_by("pk")
    for each in received.iterator(_AT_ONCE):
        yield {
            "id": public_id("attachment", each.pk),
            "cardId": public_id("card", each.card_id or 0),
            "filename": each.filename,
            "contentType": each.content_type,
            "size": each.size,
        }
