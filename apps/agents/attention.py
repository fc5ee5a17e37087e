"""What waits for a person, each with what it takes to answer it where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Max
from django.db.models.expressions import RawSQL

from apps.accounts.models import User
from apps.agents.models import AgentRequest, AgentSession
from apps.agents.serializers import request_shape, session_shape
from apps.cards.attention import APPROVAL
from apps.cards.models import Card
from apps.cards.pipelines import next_columns
from apps.common.ids import public_id
from apps.common.times import iso
from apps.projects.memberships import reached

REQUEST = "request"
# The newest of each kind of row.
MOST = 500

_Dated = tuple[datetime, dict[str, Any]]


def attention(user: User) -> list[dict[str, Any]]:
    """In all the projects that this person reaches, newest first. At most five queries."""
    where, parameters = reached(user)
    projects = RawSQL(f"SELECT p.id FROM projects_project p WHERE {where}", parameters)
    cards = Card.objects.filter(attention__isnull=False, project_id__in=projects)
    asked = requests_with_cards().filter(
        state=AgentRequest.State.OPEN, session__project_id__in=projects
    )
    newest = cards.select_related("project", "column").order_by("-attention_since", "-pk")[:MOST]
    items = _of_cards(list(newest))
    items += [(each.created_at, request_item(each)) for each in asked.order_by("-pk")[:MOST]]
    items.sort(key=lambda item: item[0], reverse=True)
    return [item for _, item in items]


def requests_with_cards() -> Any:
    return AgentRequest.objects.select_related(
        "answered_by", "session__card__project", "session__card__column"
    )


def request_id(request_pk: int) -> str:
    return public_id("request", request_pk)


def card_item_id(kind: str, card_id: int) -> str:
    """A card waits in one way at a time."""
    return f"{kind}:{public_id('card', card_id)}"


def request_item(request: AgentRequest) -> dict[str, Any]:
    return {
        **_item(request_id(request.pk), REQUEST, request.session.card, request.created_at),
        "request": request_shape(request),
        "session": session_shape(request.session),
    }


def card_item(card_id: int) -> dict[str, Any]:
    """Of one that waits."""
    card = Card.objects.select_related("project", "column").get(pk=card_id)
    return _of_cards([card])[0][1]


def _of_cards(cards: Sequence[Card]) -> list[_Dated]:
    if not cards:
        return []
    newest = AgentSession.objects.filter(card__in=cards).values("card").annotate(newest=Max("pk"))
    sessions = {
        each.card_id: each for each in AgentSession.objects.filter(pk__in=newest.values("newest"))
    }
    waiting = [card for card in cards if card.attention == APPROVAL]
    onward = next_columns(waiting) if waiting else {}
    found: list[_Dated] = []
    for card in cards:
        since = card.attention_since or card.updated_at
        item = _item(card_item_id(str(card.attention), card.pk), str(card.attention), card, since)
        if card.deferred_code is not None:
            item["deferredReason"] = {
                "code": card.deferred_code,
                "message": card.deferred_message or "",
            }
        if session := sessions.get(card.pk):
            item["session"] = session_shape(session)
        if column := onward.get(card.pk):
            item["nextColumn"] = {"id": public_id("column", column.pk), "name": column.name}
        found.append((since, item))
    return found


def _item(item_id: str, kind: str, card: Card, since: datetime) -> dict[str, Any]:
    return {
        "id": item_id,
        "kind": kind,
        "projectId": public_id("project", card.project_id),
        "projectName": card.project.name,
        "boardId": public_id("board", card.column.board_id),
        "columnId": public_id("column", card.column_id),
        "columnName": card.column.name,
        "cardId": public_id("card", card.pk),
        "cardTitle": card.title,
        "createdAt": iso(since),
        "request": None,
        "deferredReason": None,
        "nextColumn": None,
        "session": None,
    }
