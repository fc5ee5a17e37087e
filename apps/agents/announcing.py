"""Telling people what begins and ceases to wait for them: those who reach the project, as each has asked for.

Called inside the transaction of the change; told after its commit, and only to sockets that are open then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from apps.accounts.preferences import wanting
from apps.agents import attention
from apps.agents.models import AgentRequest
from apps.cards.attention import FAILED
from apps.cards.models import Card
from apps.common.envelope import dumps
from apps.common.ids import public_id
from apps.events import telling
from apps.projects.memberships import people_of


def _preference(kind: str) -> str:
    return "agentFailed" if kind == FAILED else "agentWaiting"


def request_changed(request: AgentRequest) -> None:
    project_id = request.session.project_id
    if request.state == AgentRequest.State.OPEN:
        item = attention.request_item(attention.requests_with_cards().get(pk=request.pk))
        _tell(project_id, _preference(attention.REQUEST), added=[item])
    elif request.delivered_at is None:
        gone = attention.request_id(request.pk)
        _tell(project_id, _preference(attention.REQUEST), removed=[gone])


def card_changed(card_id: int, before: str | None, now: str | None) -> None:
    project_id = Card.objects.values_list("project_id", flat=True).get(pk=card_id)
    if before is not None:
        gone = attention.card_item_id(before, card_id)
        _tell(project_id, _preference(before), removed=[gone])
    if now is not None:
        _tell(project_id, _preference(now), added=[attention.card_item(card_id)])


def gone(card_ids: list[int]) -> None:
    """With the cards, which are still there."""
    removed: dict[tuple[int, str], list[str]] = defaultdict(list)
    asked = AgentRequest.objects.filter(
        state=AgentRequest.State.OPEN, session__card_id__in=card_ids
    ).order_by("pk")
    for project_id, pk in asked.values_list("session__project_id", "pk"):
        removed[project_id, _preference(attention.REQUEST)].append(attention.request_id(pk))
    waiting = Card.objects.filter(pk__in=card_ids, attention__isnull=False).order_by("pk")
    for project_id, pk, kind in waiting.values_list("project_id", "pk", "attention"):
        item_id = attention.card_item_id(str(kind), pk)
        removed[project_id, _preference(str(kind))].append(item_id)
    for (project_id, preference), ids in removed.items():
        _tell(project_id, preference, removed=ids)


def _tell(
    project_id: int,
    preference: str,
    *,
    added: Sequence[dict[str, Any]] = (),
    removed: Sequence[str] = (),
) -> None:
    people = wanting(people_of(project_id), preference)
    if not people:
        return
    data = {"projectId": public_id("project", project_id), "added": added, "removed": removed}
    frame = f'{{"type":"notification","data":{dumps(data).decode()}}}'

    def tell() -> None:
        telling.tell_users(people, frame)

    transaction.on_commit(tell, robust=True)
