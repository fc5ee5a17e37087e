"""What a worker writes when its agent asks people something and waits.

Each function is one transaction that names its fence; a stale owner gets `NotOurs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from apps.agents import entries, requests, sessions, turns
from apps.agents.events import RequestChanged
from apps.agents.models import AgentMessage, AgentRequest, AgentSession
from apps.events import bus
from apps.runs.kinds import Claim
from apps.runs.models import State


@dataclass(frozen=True)
class Opened:
    """A request that waits for a person (`request_id`), or one that was decided already (`answer`)."""

    request_id: int | None = None
    answer: dict[str, Any] | None = None


@dataclass(frozen=True)
class News:
    """What people did since the worker looked last: answers by request, and a turn to end at once."""

    answers: dict[int, dict[str, Any]]
    send_now: bool


@bus.atomically
def ask(claim: Claim, turn_id: int | None, asked: requests.Asked) -> Opened | None:
    """Put it to the people, and wait; None when the session is being stopped.

    An agent that was started anew and asks again for a permission that was decided meanwhile gets that
    decision, once.
    """
    session = turns.locked(claim)
    if session.cancel_requested or session.state not in (State.RUNNING, State.WAITING):
        return None
    if asked.kind == AgentRequest.Kind.PERMISSION:
        decided = (
            AgentRequest.objects.filter(
                session=session,
                turn_id=turn_id or 0,
                kind=asked.kind,
                fingerprint=asked.fingerprint,
                state=AgentRequest.State.ANSWERED,
                delivered_at=None,
            )
            .select_related("session", "answered_by")
            .order_by("id")
            .first()
        )
        if decided is not None:
            requests.delivered(decided)
            return Opened(answer=decided.answer)
    request = AgentRequest.objects.create(
        session=session,
        turn_id=turn_id,
        kind=asked.kind,
        title=asked.title,
        fingerprint=asked.fingerprint,
        body=asked.body,
        options=asked.options,
    )
    entries.add(session, AgentMessage.Role.SYSTEM, "request", asked.title, turn_id=turn_id)
    if session.state != State.WAITING:
        session.state = State.WAITING
        session.waiting_for = requests.waiting_for(request)
        session.waiting_since = timezone.now()
        session.save()
    bus.publish(RequestChanged(project_id=session.project_id, request=request))
    sessions.changed(session, noted=True)
    return Opened(request_id=request.pk)


@bus.atomically
def news(claim: Claim, waiting: list[int]) -> News:
    """The answers among the requests that a process waits for, marked as delivered.

    Marked before the reply leaves, like a prompt: what a crash swallows in between is told in the prompt
    that takes the turn up again.
    """
    session = turns.locked(claim)
    answered = AgentRequest.objects.filter(
        pk__in=waiting, state=AgentRequest.State.ANSWERED, delivered_at=None
    )
    answers: dict[int, dict[str, Any]] = {}
    for row in answered.select_related("session", "answered_by").order_by("id"):
        answers[row.pk] = row.answer or {}
        requests.delivered(row)
    following = AgentMessage.objects.filter(session=session, queue=AgentMessage.Queue.NEXT)
    return News(answers, following.exists())


@bus.atomically
def park(claim: Claim) -> bool:
    """Whether the process may go: the session still waits. An answer from now on starts it anew."""
    session = turns.owned(claim)
    return session.state == State.WAITING and not session.cancel_requested


def left_behind(claim: Claim, turn_id: int) -> bool | None:
    """What a process that died leaves of its questions: True with one still open, False with an answer that
    it never got, None with neither.
    """
    session = AgentSession.objects.filter(
        pk=claim.run_id, fence=claim.fence, cancel_requested=False
    ).first()
    if session is None:
        return None
    if session.state == State.WAITING:
        return True
    undelivered = AgentRequest.objects.filter(
        turn_id=turn_id, state=AgentRequest.State.ANSWERED, delivered_at=None, told_at=None
    )
    return False if undelivered.exists() else None
