"""Sessions as people move them: start, cancel, message. What a worker writes is in `attempts`.

Every function here runs inside a transaction that holds the project's stream (`bus.lock`), so that a card has
at most one session that is live and not asked to cancel; a partial unique index would refuse a second one.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import connection
from django.db.models import F
from django.utils import timezone

from apps.agents import gate, requests, turns
from apps.agents.events import AgentStatus
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.boards.models import ColumnType
from apps.cards import services as cards
from apps.cards.models import Card
from apps.common.errors import Conflict, NotFound
from apps.common.fetching import insert
from apps.common.ids import public_id
from apps.events import bus, telling
from apps.runs.models import FINAL, LIVE, State

logger = logging.getLogger(__name__)

QUEUE = "agents"
Queue = AgentMessage.Queue


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
    why = session.error_code or session.queue_reason
    logger.info(
        "%s of %s is %s%s",
        public_id("session", session.pk),
        public_id("card", session.card_id),
        "being stopped" if session.cancel_requested and session.state in LIVE else session.state,
        f" ({why})" if why else "",
    )
    newest = _one("SELECT MAX(id) FROM agents_agentsession WHERE card_id = %s", [session.card_id])
    bus.publish(AgentStatus(project_id=session.project_id, session=session))
    if newest == session.pk:
        cards.set_agent_status(
            session.card_id, session.state, noted=noted, pending_approval=pending_approval
        )


def start_or_defer(card: Card, *, by: int | None) -> AgentSession | None:
    """Queue a session for a card that stands in an active column; None when the gate defers it."""
    equipment = gate.examine(card)
    if isinstance(equipment, gate.Obstacle):
        cards.defer_card(card, equipment.code, equipment.message)
        return None
    if card.deferred_code is not None:
        cards.clear_deferral(card)
    return _queue(card, equipment, by=by)


def _queue(card: Card, equipment: gate.Equipment, *, by: int | None) -> AgentSession:
    column = card.column
    session = AgentSession(
        project_id=card.project_id,
        card=card,
        column_id=column.pk,
        column_name=column.name,
        started_by_id=by,
    )
    equip(session, equipment)
    insert(session)
    insert(Turn(session=session, kind=Turn.Kind.PROMPT, text=""))
    changed(session)
    ring()
    return session


def equip(session: AgentSession, equipment: gate.Equipment) -> None:
    """What it works with; the session is not saved here."""
    session.preset = equipment.preset.id
    session.model = equipment.model
    session.credential_id = equipment.credential.credential_id if equipment.credential else None
    session.permission_mode = equipment.permission_mode


def card_entered_active(card: Card, *, by: int | None) -> None:
    """The move wins (K7): a queued session takes the new column, a running one makes place for a new one.

    What is queued goes with the card, also what an ended session held; only where nothing new starts, the
    queue of a session that is ended here is dropped.
    """
    session = _live(card.pk)
    if session is not None:
        if session.state == State.QUEUED and session.fence == 0:
            session.column_id, session.column_name = card.column_id, card.column.name
            equipment = gate.equip(card)
            if isinstance(equipment, gate.Equipment):
                equip(session, equipment)
            session.save()
            changed(session)
            return
        _end(session)
    new = start_or_defer(card, by=by)
    if new is not None:
        for message in _queued_messages(card.pk):
            message.session = new
            _queued_as(message, message.queue)
    elif session is not None:
        _drop_messages(card.pk)


def stop(card_id: int) -> None:
    """No agent works on the card any more, and nothing that waits is sent, be it held by an ended session."""
    session = _live(card_id)
    if session is not None:
        _end(session)
    _drop_messages(card_id)


# Most cards have neither; to ask so costs a tenth of building the query for the rows.
_ANY_LIVE = f"""
    SELECT EXISTS (SELECT 1 FROM agents_agentsession WHERE card_id = %s AND NOT cancel_requested
                   AND state IN ({", ".join(f"'{state}'" for state in LIVE)}))
"""
_ANY_QUEUED = """
    SELECT EXISTS (SELECT 1 FROM agents_agentmessage m JOIN agents_agentsession s ON s.id = m.session_id
                   WHERE s.card_id = %s AND m.queue IN ('queued', 'next'))
"""


def _one(statement: str, parameters: list[int]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


def _live(card_id: int) -> AgentSession | None:
    """The card's live session, its row locked: no follow-up becomes a turn while we decide."""
    if not _one(_ANY_LIVE, [card_id]):
        # The stream is locked, so none comes into being.
        return None
    return (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(card_id=card_id, state__in=LIVE, cancel_requested=False)
        .first()
    )


def _queued_messages(card_id: int) -> list[AgentMessage]:
    """Of the card's sessions, the live one locked: an ended one's queue changes only under the stream."""
    if not _one(_ANY_QUEUED, [card_id]):
        return []
    waiting = AgentMessage.objects.filter(
        session__card_id=card_id, queue__in=[Queue.QUEUED, Queue.NEXT]
    )
    return list(waiting.order_by("pk"))


def _drop_messages(card_id: int) -> None:
    """Kept readable, never sent."""
    for message in _queued_messages(card_id):
        _queued_as(message, Queue.DROPPED)


def _end(session: AgentSession) -> None:
    """Cancel: at once where no worker owns the session, else by asking its worker."""
    if session.worker_id is None:
        session.fence += 1
        ended_as_cancelled(session)
        return
    requests.close_open(session, AgentRequest.State.CANCELLED)
    session.cancel_requested = True
    session.save(update_fields=["cancel_requested"])
    ring()
    changed(session)


def ended_as_cancelled(session: AgentSession) -> None:
    requests.close_open(session, AgentRequest.State.CANCELLED)
    stop_waiting(session)
    session.state = State.CANCELLED
    session.ended_at = timezone.now()
    session.save()
    end_turns(session, "cancelled")
    changed(session)


def stop_waiting(session: AgentSession) -> None:
    """Whatever it waited for, in the queue or for a person, counts no longer; not saved here."""
    session.waiting_for = session.waiting_since = None
    session.queue_reason = None
    session.not_before = None


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


@bus.atomically
def cancel(card: Card) -> None:
    """Stop the card's agent. Answers at once; the processes are gone within 2 s. Repeatable."""
    bus.lock(card.project_id)
    stop(card.pk)


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
    if session.cancel_requested and session.state in LIVE:
        raise Conflict(
            "The agent is being stopped; send the message once it has ended.", code="agent_stopping"
        )
    message = _enqueue(session, content, by=by)
    if session.state in FINAL:
        requeue(session)
    elif session.state == State.WAITING and (session.waiting_for or {}).get("kind") == "message":
        queue_at_head(session)
    ring()
    return message


@bus.atomically
def send_now(card: Card, message_id: int) -> AgentMessage:
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
    _make_next(message)
    if session.state in FINAL:
        requeue(session)
    elif session.state == State.WAITING:
        requests.close_open(session, AgentRequest.State.CANCELLED)
        if session.worker_id is None:
            end_turns(session, "cancelled")
            queue_at_head(session)
        else:
            works_on(session)
    ring()
    return message


@bus.atomically
def drop_message(card: Card, message_id: int) -> None:
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
        _queued_as(message, Queue.DROPPED)


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


def put_next(session: AgentSession, content: str, *, by: int | None) -> None:
    """What the agent gets as its next turn, before everything that is queued."""
    _make_next(_enqueue(session, content, by=by))


def _enqueue(session: AgentSession, content: str, *, by: int | None) -> AgentMessage:
    message = AgentMessage.objects.create(
        session=session,
        role=AgentMessage.Role.USER,
        type="text",
        content=content,
        queue=Queue.QUEUED,
        author_id=by,
        created_at=timezone.now(),
    )
    _queued_as(message, Queue.QUEUED)
    return message


def _make_next(message: AgentMessage) -> None:
    """One alone is the next: the one that was asked for last."""
    for former in AgentMessage.objects.filter(session_id=message.session_id, queue=Queue.NEXT):
        _queued_as(former, Queue.QUEUED)
    _queued_as(message, Queue.NEXT)


def _queued_as(message: AgentMessage, queue: str | None) -> None:
    """Change its place in the queue and tell whoever watches the session."""
    _index, message.rev = turns.number(message.session_id, indexes=0, revs=1)
    message.queue = queue
    message.save(update_fields=["queue", "rev", "session"])
    turns.tell_after_commit(message)


def wait_for_message(session: AgentSession) -> None:
    """A plan was refused without a word on what to change: the agent waits to be told."""
    session.state = State.WAITING
    session.waiting_for = {"kind": "message"}
    session.waiting_since = timezone.now()
    session.save()
    changed(session, noted=True)


def works_on(session: AgentSession) -> None:
    """It waits no longer, and its process is there; if it isn't, the session is started anew."""
    stop_waiting(session)
    session.state = State.RUNNING
    session.save()
    changed(session)


def queue_at_head(session: AgentSession) -> None:
    """What a waiting session waited for is there: it goes on before anything new starts."""
    session.state = State.QUEUED
    stop_waiting(session)
    session.queue_rank = 0
    session.queued_at = timezone.now()
    session.save()
    changed(session)
    ring()


def requeue(session: AgentSession) -> None:
    """Take an ended session up again, as a new attempt."""
    session.state = State.QUEUED
    stop_waiting(session)
    session.cancel_requested = False
    session.ended_at = None
    session.error_code = session.error_message = None
    session.queued_at = timezone.now()
    session.queue_rank = 1
    session.advances = session.card.column.column_type == ColumnType.ACTIVE
    session.save()
    # Somebody has looked at what went wrong.
    turns.open_turns(session).update(resumes=0)
    changed(session)
