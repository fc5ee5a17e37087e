from __future__ import annotations

from django.db.models import Count, Max, Q, QuerySet, Sum

from apps.agents.models import AgentRequest, AgentSession
from apps.credentials.usage import Usage
from apps.runs.models import LIVE, State


def current_session(card_id: int) -> AgentSession | None:
    """The newest: the live one if there is one, else the last that ended."""
    return AgentSession.objects.filter(card_id=card_id).order_by("-id").first()


def sessions_of(card_id: int) -> QuerySet[AgentSession]:
    """Newest first."""
    return AgentSession.objects.filter(card_id=card_id).order_by("-id")


def queue_position(session: AgentSession) -> int | None:
    """1 for the next to start; None when it isn't queued."""
    if session.state != State.QUEUED:
        return None
    ahead = (
        Q(queue_rank__lt=session.queue_rank)
        | Q(queue_rank=session.queue_rank, queue_number__lt=session.queue_number)
        | Q(queue_rank=session.queue_rank, queue_number=session.queue_number, pk__lt=session.pk)
    )
    queued = AgentSession.objects.filter(state=State.QUEUED, cancel_requested=False)
    return queued.filter(ahead).count() + 1


def active_agents(project_id: int) -> QuerySet[AgentSession]:
    """The live ones, oldest first, with their cards."""
    return (
        AgentSession.objects.filter(project_id=project_id, state__in=LIVE, cancel_requested=False)
        .select_related("card")
        .order_by("id")
    )


def requests_of(card_id: int) -> QuerySet[AgentRequest]:
    """What the card's agents asked people, newest first."""
    return (
        AgentRequest.objects.filter(session__card_id=card_id)
        .select_related("session", "answered_by")
        .order_by("-id")
    )


def usage_of_credential(credential_id: int) -> Usage:
    """Of the sessions that have ever started with it."""
    used = AgentSession.objects.filter(credential_id=credential_id, started_at__isnull=False)
    found = used.aggregate(
        sessions=Count("pk"),
        input_tokens=Sum("input_tokens", default=0),
        output_tokens=Sum("output_tokens", default=0),
        cost_usd=Sum("cost_usd"),
        started=Max("started_at"),
        ended=Max("ended_at"),
    )
    times = [moment for moment in (found.pop("started"), found.pop("ended")) if moment]
    return Usage(**found, last_used_at=max(times, default=None))
