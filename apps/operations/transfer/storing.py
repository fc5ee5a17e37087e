from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from django.db.models import Model

from apps.accounts.models import User
from apps.agents.gate import require_known
from apps.agents.models import AgentSession
from apps.boards.models import Board, Column
from apps.cards import attention
from apps.cards.models import Attachment, Card, Dependency, PipelineStep
from apps.common.ids import public_id
from apps.events import bus
from apps.operations.transfer.reading import Document
from apps.projects import places
from apps.projects.models import Project
from apps.projects.services import first_settings, make_project
from apps.scripts.models import Script

M = TypeVar("M", bound=Model)
Ids = dict[int, int]

_AT_ONCE = 1_000
_CARD_ID = re.compile(r"\bcard_([0-9]{1,18})\b")


def import_project(
    user: User, document: Document, *, path: str, organization_id: int | None
) -> Project:
    """All of it or nothing. No agent starts, whatever columns the cards stand in."""
    require_known(document.project.get("agent"))
    place = places.inspect(path, user)
    return first_settings(_store(user, document, place, organization_id))


@bus.atomically
def _store(
    user: User, document: Document, place: places.Place, organization_id: int | None
) -> Project:
    name, own = document.project["name"], document.project.keys() - {"name"}
    project = make_project(
        user,
        name=name,
        place=place,
        organization_id=organization_id,
        own_settings={each: document.project[each] for each in own},
    )
    boards = _boards(project, document)
    columns = _columns(project, document, boards)
    cards = _cards(project, document, columns, by=user.pk)
    _pipelines(document, cards, columns)
    _sessions(project, document, cards, columns)
    _insert(
        Script,
        (
            Script(project=project, position=position, name=each["name"], command=each["command"])
            for position, each in enumerate(document.scripts)
        ),
    )
    _insert(
        Attachment,
        (
            Attachment(
                card_id=cards[each["card_id"]],
                filename=each["filename"],
                content_type=each["content_type"],
                size=each.get("size", 0),
                state=Attachment.State.ABSENT,
                host_id="",
                folder="",
                created_by=user,
            )
            for each in document.attachments
        ),
    )
    return project


def _insert(model: type[M], rows: Iterable[M]) -> list[M]:
    made: list[M] = model._default_manager.bulk_create(rows, batch_size=_AT_ONCE)
    return made


def _boards(project: Project, document: Document) -> Ids:
    rows = _insert(
        Board,
        (
            Board(project=project, name=each["name"], position=position)
            for position, each in enumerate(document.boards)
        ),
    )
    return {each["id"]: row.pk for each, row in zip(document.boards, rows, strict=True)}


def _columns(project: Project, document: Document, boards: Ids) -> Ids:
    next_place = dict.fromkeys(boards, 0)
    made = []
    for each in document.columns:
        made.append(
            Column(
                project=project,
                board_id=boards[each["board_id"]],
                name=each["name"],
                column_type=each["column_type"],
                position=next_place[each["board_id"]],
                prompt=each.get("prompt") or None,
                wip_limit=each.get("wip_limit"),
                permission_mode=each.get("permission_mode"),
            )
        )
        next_place[each["board_id"]] += 1
    rows = _insert(Column, made)
    return {each["id"]: row.pk for each, row in zip(document.columns, rows, strict=True)}


def _cards(project: Project, document: Document, columns: Ids, *, by: int) -> Ids:
    next_place = dict.fromkeys(columns, 0)
    last_status = {each["card_id"]: each["status"] for each in document.sessions}
    made = []
    for each in document.cards:
        reason = each.get("deferred_reason")
        made.append(
            Card(
                project=project,
                column_id=columns[each["column_id"]],
                position=next_place[each["column_id"]],
                title=each["title"],
                prompt=each.get("prompt") or "",
                labels=each.get("labels", []),
                auto_mode=each.get("auto_mode", False),
                pending_approval=each.get("pending_approval", False),
                permission_mode=each.get("permission_mode"),
                defer=each.get("defer", False),
                deferred_code=reason["code"] if reason else None,
                deferred_message=reason["message"] if reason else None,
                agent_status=last_status.get(each["id"]),
                external_id=each.get("external_id"),
                completed_at=each.get("completed_at"),
                created_by_id=by,
            )
        )
        next_place[each["column_id"]] += 1
    attention.begin(made)
    rows = _insert(Card, made)
    ids = {each["id"]: row.pk for each, row in zip(document.cards, rows, strict=True)}
    _rename(rows, ids)
    _insert(
        Dependency,
        (
            Dependency(card_id=ids[each["id"]], blocker_id=ids[blocker])
            for each in document.cards
            for blocker in dict.fromkeys(each.get("blocked_by", ()))
        ),
    )
    return ids


def _rename(cards: list[Card], ids: Ids) -> None:
    """In the sentences that say what a card waits for."""

    def renamed(found: re.Match[str]) -> str:
        new = ids.get(int(found[1]))
        return found[0] if new is None else public_id("card", new)

    changed = []
    for card in cards:
        message = _CARD_ID.sub(renamed, card.deferred_message or "")
        if message != (card.deferred_message or ""):
            card.deferred_message = message
            changed.append(card)
    Card.objects.bulk_update(changed, ["deferred_message"], batch_size=_AT_ONCE)


def _pipelines(document: Document, cards: Ids, columns: Ids) -> None:
    _insert(
        PipelineStep,
        (
            PipelineStep(
                card_id=cards[each["card_id"]],
                column_id=columns[step["column_id"]],
                position=position,
                prompt=step.get("prompt") or None,
            )
            for each in document.pipelines
            for position, step in enumerate(each["steps"])
        ),
    )


def _sessions(project: Project, document: Document, cards: Ids, columns: Ids) -> None:
    _insert(
        AgentSession,
        (
            AgentSession(
                project_id=project.pk,
                card_id=cards[each["card_id"]],
                column_id=columns.get(each.get("column_id") or 0),
                column_name=each.get("column_name"),
                preset=each.get("agent"),
                model=each.get("model"),
                permission_mode=each.get("permission_mode", "unattended"),
                state=each["status"],
                error_code=each["error"]["code"] if each.get("error") else None,
                error_message=each["error"]["message"] if each.get("error") else None,
                started_at=each.get("started_at"),
                ended_at=each.get("ended_at"),
                input_tokens=each.get("input_tokens", 0),
                output_tokens=each.get("output_tokens", 0),
                cached_tokens=each.get("cached_tokens", 0),
                cost_usd=each.get("cost_usd"),
            )
            for each in document.sessions
        ),
    )
