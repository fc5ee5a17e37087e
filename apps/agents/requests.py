"""Requests that wait for a person (X3): how they close, and what their answers mean for a turn.

A request is open only under a live session; whatever ends the waiting closes it in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.agents import entries
from apps.agents.events import RequestChanged
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.common.ids import public_id
from apps.events import bus

Kind = AgentRequest.Kind
PLAN_REMEMBERED = 20_000
SHOWN = 2_000
_UNANSWERED = {
    AgentRequest.State.CANCELLED: "the work that asked it was ended.",
    AgentRequest.State.WITHDRAWN: "the agent waits for it no longer.",
}


@dataclass(frozen=True)
class Asked:
    """What an agent asks, fit to be stored and shown.

    `fingerprint` is the same for the same question of an agent that was started anew.
    """

    kind: str
    title: str
    fingerprint: str
    body: dict[str, Any] = field(default_factory=dict)
    options: list[dict[str, str]] = field(default_factory=list)


def fingerprint(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def open_of(session: AgentSession) -> QuerySet[AgentRequest]:
    """Oldest first."""
    return AgentRequest.objects.filter(session=session, state=AgentRequest.State.OPEN).order_by(
        "id"
    )


def close_open(session: AgentSession, state: AgentRequest.State) -> None:
    """`cancelled` when people ended the waiting, `withdrawn` when the agent did."""
    for request in open_of(session).select_related("answered_by"):
        request.session = session
        request.state = state
        request.save(update_fields=["state"])
        entries.add(
            session,
            AgentMessage.Role.SYSTEM,
            "status",
            f"“{request.title}” was not answered: {_UNANSWERED[state]}",
            turn_id=request.turn_id,
        )
        bus.publish(RequestChanged(project_id=session.project_id, request=request))


def delivered(request: AgentRequest) -> None:
    """The agent has the answer, and whoever watches hears of it. The stream is locked."""
    request.delivered_at = timezone.now()
    request.save(update_fields=["delivered_at"])
    bus.publish(RequestChanged(project_id=request.session.project_id, request=request))


def waiting_for(request: AgentRequest) -> dict[str, str]:
    return {"kind": request.kind, "requestId": public_id("request", request.pk)}


def awaited_calls(session: AgentSession) -> frozenset[str]:
    """The agent's ids of the calls that an answer can still set going."""
    rows = AgentRequest.objects.filter(session=session).filter(
        Q(state=AgentRequest.State.OPEN)
        | Q(state=AgentRequest.State.ANSWERED, delivered_at=None, told_at=None)
    )
    found = [row.body.get("toolCall") for row in rows]
    return frozenset(call["id"] for call in found if call)


def refused_plan(turn_id: int | None) -> AgentRequest | None:
    """The turn's last plan, if it was refused."""
    if turn_id is None:
        return None
    last = (
        AgentRequest.objects.filter(
            turn_id=turn_id, kind=Kind.PLAN, state=AgentRequest.State.ANSWERED
        )
        .order_by("-id")
        .first()
    )
    return last if last is not None and not (last.answer or {}).get("granted") else None


def decisions(turn_id: int) -> list[tuple[AgentRequest, bool]]:
    """What an agent that is started anew in this turn must be told, and whether it may have heard it before.

    A permission that no process has heard of is told as such once, and delivered when the agent asks for the
    same thing again. The last one may have been heard by a process that died right then: whether it was used
    nobody knows.
    """
    answered = AgentRequest.objects.filter(turn_id=turn_id, state=AgentRequest.State.ANSWERED)
    last = answered.order_by("-id").first()
    told: list[tuple[AgentRequest, bool]] = []
    now = timezone.now()
    for each in answered.select_related("session", "answered_by").order_by("id"):
        heard = each.delivered_at is not None or each.told_at is not None
        if each.kind == Kind.PERMISSION and each.delivered_at is not None and each != last:
            continue
        told.append((each, heard))
        each.told_at = now
        each.save(update_fields=["told_at"])
        if each.kind != Kind.PERMISSION and each.delivered_at is None:
            delivered(each)
    return told


def as_text(request: AgentRequest, *, heard: bool) -> str:
    """The decision in words, for the agent. `heard`: it may have acted on it already."""
    answer = request.answer or {}
    granted = bool(answer.get("granted"))
    if request.kind == Kind.PLAN:
        plan = str(request.body.get("plan") or "")[:PLAN_REMEMBERED]
        verdict = (
            "Your plan was approved; you are no longer in plan mode. Carry it out."
            if granted
            else f"Your plan was not approved. {answer.get('text') or ''}".rstrip()
        )
        return f"{verdict}\n\nThe plan:\n\n{plan}" if plan else verdict
    if request.kind == Kind.PERMISSION:
        call = request.body.get("toolCall") or {}
        what = json.dumps(call.get("input"), ensure_ascii=False)[:SHOWN]
        if granted and heard:
            return (
                f"You had asked to do “{request.title}” ({what}). It was granted; whether you did it is not"
                " known. Look first, and do it only if it is not done."
            )
        if granted:
            return (
                f"You had asked to do “{request.title}” ({what}). It was granted, but not done yet:"
                " do it now, in the very same way."
            )
        return f"You had asked to do “{request.title}” ({what}). It was refused: do not do it."
    if answer.get("declined"):
        return f"Your question “{request.title}” was not answered. Decide for yourself."
    said = "; ".join(
        f"{name}: {value}" for name, value in named(request, answer.get("answers") or {}).items()
    )
    return f"You had asked “{request.title}”. The answer: {said}"


def named(request: AgentRequest, answers: dict[str, Any]) -> dict[str, Any]:
    """The answers by the titles of their questions."""
    titles = {each["id"]: each["title"] for each in request.body.get("questions") or []}
    return {titles.get(key, key): value for key, value in answers.items()}


def with_news(worker_id: str) -> set[int]:
    """Sessions of the worker that should look: a message is to be sent at once, or an answer is there."""
    following = AgentMessage.objects.filter(
        session__worker_id=worker_id, queue=AgentMessage.Queue.NEXT
    ).values_list("session_id", flat=True)
    answered = AgentRequest.objects.filter(
        session__worker_id=worker_id,
        turn__state=Turn.State.SENT,
        state=AgentRequest.State.ANSWERED,
        delivered_at=None,
        told_at=None,
    ).values_list("session_id", flat=True)
    return {*following, *answered}
