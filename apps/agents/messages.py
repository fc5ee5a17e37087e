"""What people say to a card's agent: sent at its next turn, at once, or dropped before."""

from __future__ import annotations

from apps.agents import entries, followups, requests, sessions, turns
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.cards.models import Card
from apps.common.errors import Conflict, NotFound
from apps.events import bus
from apps.runs.doorbell import ring
from apps.runs.models import FINAL, LIVE, State

Queue = AgentMessage.Queue


@bus.atomically
def post(card: Card, content: str, *, by: int | None) -> AgentMessage:
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
    if session.cancel_requested and session.state in LIVE:
        raise Conflict(
            "The agent is being stopped; send the message once it has ended.", code="agent_stopping"
        )
    message = followups.enqueue(session, content, by=by)
    if session.state in FINAL:
        sessions.requeue(session)
    elif session.state == State.WAITING and (session.waiting_for or {}).get("kind") == "message":
        sessions.queue_at_head(session)
    ring()
    return message


@bus.atomically
def send_now(card: Card, message_id: int, *, by: int | None) -> AgentMessage:
    """Make a queued message the next turn, and end the one that runs. Repeatable.

    Whatever becomes of the running turn, a crash included, this message is what the agent gets next.
    """
    bus.lock(card.project_id)
    session, message = _message_of(card, message_id)
    if message.queue is None or message.queue == Queue.NEXT:
        return message
    if message.queue == Queue.DROPPED:
        raise Conflict(
            "This message was dropped and is never sent; send it as a new one.",
            code="message_dropped",
        )
    if session.cancel_requested and session.state in LIVE:
        raise Conflict(
            "The agent is being stopped; send the message once it has ended.", code="agent_stopping"
        )
    followups.make_next(message)
    if turns.open_turns(session).filter(state=Turn.State.SENT).exists():
        entries.add_done(session, by, "had a message sent at once, which ends the turn under way.")
    if session.state in FINAL:
        sessions.requeue(session)
    elif session.state == State.WAITING:
        requests.close_open(session, AgentRequest.State.CANCELLED)
        if session.worker_id is None:
            sessions.end_turns(session, "cancelled")
            sessions.queue_at_head(session)
        else:
            sessions.works_on(session)
    ring()
    return message


@bus.atomically
def drop(card: Card, message_id: int) -> None:
    """It stays readable and is never sent. Repeatable; a message that was sent can't be dropped.

    Nor can one for whose sake a turn is being ended: nothing would take that turn's place.
    """
    bus.lock(card.project_id)
    session, message = _message_of(card, message_id)
    if message.queue is None:
        raise Conflict("This message was sent already.", code="message_sent")
    if message.queue == Queue.NEXT and session.worker_id is not None and session.state in LIVE:
        raise Conflict(
            "The running turn is being ended so that this message can be sent at once.",
            code="message_sending",
        )
    if message.queue != Queue.DROPPED:
        followups.queued_as(message, Queue.DROPPED)


def _message_of(card: Card, message_id: int) -> tuple[AgentSession, AgentMessage]:
    """A message of the card's with its session, which is locked: no turn begins or ends meanwhile."""
    message = AgentMessage.objects.filter(
        session__card_id=card.pk, pk=message_id, role=AgentMessage.Role.USER
    ).first()
    if message is None:
        raise NotFound("This card has no such message of a person.")
    session = AgentSession.objects.select_for_update(of=("self",), no_key=True).get(
        pk=message.session_id
    )
    message.refresh_from_db()
    return session, message
