"""Sessions as people move them: start, stop, take up again.

What a worker writes is in `attempts`, what people say in `messages`.

Every function here runs inside a transaction that holds the project's stream (`bus.lock`), so that a card has
at most one session that is live and not asked to cancel; a partial unique index would refuse a second one.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from apps.agents import binding, calls, entries, followups, gate, requests, turns
from apps.agents.events import AgentStatus
from apps.agents.models import AgentRequest, AgentSession, Turn
from apps.boards.models import ColumnType
from apps.cards import services as cards
from apps.cards import starting
from apps.cards.models import Card
from apps.common.errors import Conflict
from apps.common.fetching import insert
from apps.common.ids import parse_id, public_id
from apps.events import bus
from apps.projects.models import Project
from apps.runs import waiting
from apps.runs.doorbell import ring
from apps.runs.models import LIVE, State
from apps.runs.rows import at_work, in_order

logger = logging.getLogger(__name__)


def changed(
    session: AgentSession, *, noted: bool = False, pending_approval: bool | None = None
) -> None:
    """Tell of the session's new state, and put it on its card if it is the card's newest session.

    `noted` marks the card as worth reading: an agent finished, failed or asked.
    """
    why = session.error_code or session.queue_reason
    state = session.state
    if session.cancel_requested and session.state in LIVE:
        state = "being stopped"
    said = (
        f"{public_id('session', session.pk)} of {public_id('card', session.card_id)} is {state}"
        + (f" ({why})" if why else "")
    )
    transaction.on_commit(lambda: logger.info("%s", said), robust=True)
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
    binding.bind(session)
    session.line_up()
    insert(session)
    insert(Turn(session=session, kind=Turn.Kind.PROMPT, text=""))
    _queued(session)
    ring()
    return session


def _queued(session: AgentSession) -> None:
    """Tell of it, also that its host is away: not saved, it would still be said once the host is back."""
    waiting.miss_hosts([session])
    changed(session)


def equip(session: AgentSession, equipment: gate.Equipment) -> None:
    """What it works with; the session is not saved here.

    Its mode is settled by its first turn: later on an approved plan or a message goes on in it.
    """
    session.preset = equipment.preset.id
    session.model = equipment.model
    session.credential_id = equipment.credential.credential_id if equipment.credential else None
    # Of one that was never claimed nothing was sent.
    if session.fence == 0 or not turns.any_sent(session):
        session.permission_mode = equipment.permission_mode


def card_entered_active(card: Card, *, by: int | None, did: str) -> None:
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
        _end(session, by=by, did=did)
    new = start_or_defer(card, by=by)
    if new is not None:
        for message in followups.of_card(card.pk):
            message.session = new
            followups.queued_as(message, message.queue)
    elif session is not None:
        followups.drop_of_card(card.pk)


def stop(card_id: int, *, by: int | None, did: str) -> None:
    """No agent works on the card any more, and nothing that waits is sent, be it held by an ended session.

    `did`: what the transcript says that somebody did.
    """
    session = _live(card_id)
    if session is not None:
        _end(session, by=by, did=did)
    followups.drop_of_card(card_id)


# Most cards have none; to ask so costs a tenth of building the query for the rows.
_ANY_LIVE = f"""
    SELECT EXISTS (SELECT 1 FROM agents_agentsession WHERE card_id = %s AND NOT cancel_requested
                   AND state IN ({", ".join(f"'{state}'" for state in LIVE)}))
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


def _end(session: AgentSession, *, by: int | None, did: str) -> None:
    """Cancel: at once where no worker owns the session, else by asking its worker."""
    entries.add_done(session, by, did)
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
    calls.given_up(session)


def hold(sessions: QuerySet[AgentSession]) -> None:
    """Lock those of them that are at work, before several are changed."""
    list(in_order(sessions.filter(at_work())).values_list("pk", flat=True))


def disown(card_ids: list[int]) -> None:
    """Before cards go with their sessions: nobody may write into the rows any more.

    Locked and with a new fence, or the sink would add lines while the messages are being collected.
    """
    doomed = in_order(AgentSession.objects.filter(card_id__in=card_ids))
    rows = list(doomed.values_list("pk", "card_id", "state"))
    AgentSession.objects.filter(pk__in=[pk for pk, *_ in rows]).update(fence=F("fence") + 1)
    for pk, card_id, state in rows:
        if state in LIVE:
            session, card = public_id("session", pk), public_id("card", card_id)
            logger.info("%s of %s was %s and ends: its card is deleted", session, card, state)
    ring()


def require_nobody_at_work(project: Project, *, besides: str | None) -> None:
    """Conflict while a worker owns a session of the project: it was claimed for one place or the other.

    `besides`: the wire id of one that sees to it itself.
    """
    owned = AgentSession.objects.filter(project_id=project.pk, worker_id__isnull=False)
    if besides is not None:
        owned = owned.exclude(pk=parse_id("session", besides))
    if owned.exists():
        raise Conflict(
            "Agents of this project are at work. Where they work can be changed once they have ended.",
            code="agents_at_work",
        )


@bus.atomically
def cancel(card: Card, *, by: int | None) -> None:
    """Stop the card's agent. Answers at once; the processes are gone within 2 s. Repeatable."""
    bus.lock(card.project_id)
    stop(card.pk, by=by, did=starting.STOPPED)


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
    session.line_up()
    session.save()
    _queued(session)
    ring()


def requeue(session: AgentSession) -> None:
    """Take an ended session up again, as a new attempt."""
    session.state = State.QUEUED
    stop_waiting(session)
    session.cancel_requested = False
    session.ended_at = None
    session.error_code = session.error_message = None
    session.deaths = 0
    session.queue_rank = 1
    session.line_up()
    session.advances = session.card.column.column_type == ColumnType.ACTIVE
    session.save()
    # Somebody has looked at what went wrong.
    turns.open_turns(session).update(resumes=0)
    _queued(session)
