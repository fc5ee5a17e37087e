"""Sessions as people move them: start, cancel, message. What a worker writes is in `attempts`.

Every function here runs inside a transaction that holds the project's stream (`bus.lock`), so that a card has
at most one session that is live and not asked to cancel; a partial unique index would refuse a second one.
"""

from __future__ import annotations

from django.db.models import F, Max
from django.utils import timezone

from apps.agents import gate
from apps.agents.events import AgentStatus
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.boards.models import ColumnType
from apps.cards import services as cards
from apps.cards.models import Card
from apps.common.errors import Conflict
from apps.events import bus, telling
from apps.runs.models import FINAL, LIVE, State

QUEUE = "agents"


def ring() -> None:
    """Wake the workers once the transaction is committed."""
    from django.db import transaction

    def send() -> None:
        telling.ring("runs.poke", queue_name=QUEUE)

    transaction.on_commit(send, robust=True)


def changed(
    session: AgentSession, *, noted: bool = False, pending_approval: bool | None = None
) -> None:
    """Tell of the session's new state, and put it on its card if it is the card's newest session.

    `noted` marks the card as worth reading: an agent finished, failed or asked.
    """
    newest = AgentSession.objects.filter(card_id=session.card_id).aggregate(n=Max("id"))["n"]
    bus.publish(AgentStatus(project_id=session.project_id, session=session))
    if newest == session.pk:
        cards.set_agent_status(
            session.card_id, session.state, noted=noted, pending_approval=pending_approval
        )


def start_or_defer(card: Card, *, by: int | None) -> AgentSession | None:
    """Queue a session for a card that stands in an active column; None when the gate defers it."""
    obstacle = gate.obstacle(card)
    if obstacle is not None:
        cards.defer_card(card, obstacle.code, obstacle.message)
        return None
    if card.deferred_code is not None:
        cards.clear_deferral(card)
    return _queue(card, by=by)


def _queue(card: Card, *, by: int | None) -> AgentSession:
    equipment = gate.equip(card)
    assert isinstance(equipment, gate.Equipment)
    column = card.column
    session = AgentSession.objects.create(
        project_id=card.project_id,
        card=card,
        column_id=column.pk,
        column_name=column.name,
        preset=equipment.preset.id,
        model=equipment.model,
        credential_id=equipment.credential.credential_id if equipment.credential else None,
        permission_mode=(
            card.permission_mode or column.permission_mode or card.project.permission_mode
        ),
        started_by_id=by,
    )
    Turn.objects.create(session=session, kind=Turn.Kind.PROMPT, text="")
    changed(session)
    ring()
    return session


def card_entered_active(card: Card, *, by: int | None) -> None:
    """The move wins (K7): a queued session takes the new column, a running one makes place for a new one."""
    session = _live(card.pk)
    if session is None:
        start_or_defer(card, by=by)
        return
    if session.state == State.QUEUED and session.fence == 0:
        session.column_id, session.column_name = card.column_id, card.column.name
        session.save(update_fields=["column_id", "column_name"])
        changed(session)
        return
    waiting = _queued_messages(session)
    _end(session)
    new = start_or_defer(card, by=by)
    if new is not None:
        AgentMessage.objects.filter(pk__in=waiting, index=None).update(session=new)
    else:
        _drop_messages(session)


def card_left_active(card_id: int) -> None:
    session = _live(card_id)
    if session is not None:
        _end(session)
        _drop_messages(session)


def _live(card_id: int) -> AgentSession | None:
    """The card's live session, its row locked: no follow-up becomes a turn while we decide."""
    return (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(card_id=card_id, state__in=LIVE, cancel_requested=False)
        .first()
    )


def _queued_messages(session: AgentSession) -> list[int]:
    return list(
        AgentMessage.objects.filter(
            session=session, queue__in=[AgentMessage.Queue.QUEUED, AgentMessage.Queue.NEXT]
        ).values_list("pk", flat=True)
    )


def _drop_messages(session: AgentSession) -> None:
    """Kept readable, never sent."""
    AgentMessage.objects.filter(pk__in=_queued_messages(session)).update(
        queue=AgentMessage.Queue.DROPPED
    )


def _end(session: AgentSession) -> None:
    """Cancel: at once where no worker owns the session, else by asking its worker."""
    close_requests(session)
    if session.worker_id is None:
        session.state = State.CANCELLED
        session.ended_at = timezone.now()
        session.waiting_for = None
        session.queue_reason = None
        session.fence += 1
        session.save(update_fields=["state", "ended_at", "waiting_for", "queue_reason", "fence"])
        end_turns(session, "cancelled")
    else:
        session.cancel_requested = True
        session.save(update_fields=["cancel_requested"])
        ring()
    changed(session)


def end_turns(session: AgentSession, stop_reason: str) -> None:
    """What was begun or about to begin will not be taken up again."""
    Turn.objects.filter(session=session).exclude(state=Turn.State.ENDED).update(
        state=Turn.State.ENDED, stop_reason=stop_reason, ended_at=timezone.now()
    )


def disown(card_ids: list[int]) -> None:
    """Before cards go with their sessions: nobody may write into the rows any more.

    Locked and with a new fence, or the sink would add lines while the messages are being collected.
    """
    doomed = AgentSession.objects.select_for_update(no_key=True).filter(card_id__in=card_ids)
    ids = list(doomed.order_by("pk").values_list("pk", flat=True))
    AgentSession.objects.filter(pk__in=ids).update(fence=F("fence") + 1)
    ring()


def close_requests(session: AgentSession) -> None:
    """No request stays open under a session that leaves `waiting`."""
    AgentRequest.objects.filter(session=session, state=AgentRequest.State.OPEN).update(
        state=AgentRequest.State.CANCELLED
    )


@bus.atomically
def cancel(card: Card) -> None:
    """Stop the card's agent. Answers at once; the processes are gone within 2 s. Repeatable."""
    bus.lock(card.project_id)
    session = _live(card.pk)
    if session is not None:
        _end(session)
        _drop_messages(session)


@bus.atomically
def post_message(card: Card, content: str, *, by: int | None) -> AgentMessage:
    """Queue a follow-up: for the next turn while the agent works, else it takes the session up again.

    The row is locked, so a message that arrives as the turn ends is either seen by the end of the turn or
    finds the session ended and queues it again; it is sent exactly once.
    """
    bus.lock(card.project_id)
    newest = (
        AgentSession.objects.filter(card_id=card.pk)
        .order_by("-id")
        .values_list("pk", flat=True)
        .first()
    )
    if newest is None:
        raise Conflict(
            "This card has had no agent yet; move it to an active column to start one.",
            code="no_session",
        )
    session = AgentSession.objects.select_for_update(no_key=True).get(pk=newest)
    message = AgentMessage.objects.create(
        session=session,
        role=AgentMessage.Role.USER,
        type="text",
        content=content,
        queue=AgentMessage.Queue.QUEUED,
        author_id=by,
        created_at=timezone.now(),
    )
    if session.cancel_requested and session.state in LIVE:
        raise Conflict(
            "The agent is being stopped; send the message once it has ended.", code="agent_stopping"
        )
    if session.state in FINAL:
        requeue(session)
    ring()
    return message


def requeue(session: AgentSession) -> None:
    """Take an ended session up again, as a new attempt."""
    session.state = State.QUEUED
    session.cancel_requested = False
    session.ended_at = None
    session.error_code = session.error_message = None
    session.queued_at = timezone.now()
    session.queue_rank = 1
    session.advances = session.card.column.column_type == ColumnType.ACTIVE
    session.save()
    changed(session)
