"""What a worker writes about a session: progress, and exactly one end per attempt.

Each function is one transaction that names its fence; a stale owner gets `NotOurs` and writes nothing.
"""

from __future__ import annotations

from django.utils import timezone

from apps.agents import calls, entries, limited, recovery, requests, sessions, turns
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.boards.models import ColumnType
from apps.cards import services as cards
from apps.events import bus
from apps.runs.kinds import Claim
from apps.runs.models import State


@bus.atomically
def started(claim: Claim, *, preset: str, pid: int, agent_session_id: str, handover: bool) -> None:
    """The process lives and its session has a name: committed before the first prompt leaves.

    `handover`: it is another one than before and knows nothing; that stays so until a turn has ended in it.
    `preset`: of the agent that runs. Another may have been chosen since the claim, and what an approved plan
    leads to is looked up by this.
    """
    session = turns.locked(claim)
    session.preset = preset
    session.state = State.RUNNING
    session.handover_due = session.handover_due or handover
    session.pid = pid
    session.deaths = 0
    if session.agent_session_id != agent_session_id:
        session.reported_cost_usd = 0.0
    session.agent_session_id, session.agent_session_preset = agent_session_id, preset
    session.save()
    if session.fence > 1:
        calls.made_anew(session)
    if handover:
        entries.add(
            session,
            AgentMessage.Role.SYSTEM,
            "status",
            "The agent could not open its earlier conversation; it was given the task and its last words in"
            " a new one.",
        )
    sessions.changed(session)


@bus.atomically
def defer(claim: Claim, code: str, message: str) -> None:
    """The worker found that the card can't start (no program, no commits): it is deferred, not failed.

    A conversation that goes on outside of an active column has no card to defer: it fails.
    """
    session = turns.locked(claim)
    if session.card.column.column_type != ColumnType.ACTIVE:
        failed(session, "not_resumable", f"The conversation can't go on. {message}")
        return
    session.error_code, session.error_message = code, message
    sessions.ended_as_cancelled(session)
    cards.defer_card(session.card, code, message)


@bus.atomically
def put_off(claim: Claim, code: str) -> None:
    """The place is taken for the moment: the session is tried again in a few seconds, and says why.

    Only a turn under way is interrupted and keeps its place in all limits: what takes this one may last.
    """
    session = turns.locked(claim)
    if session.state in (State.STARTING, State.RUNNING):
        under_way = turns.open_turns(session).filter(state=Turn.State.SENT).exists()
        session.state = State.INTERRUPTED if under_way else State.QUEUED
        session.queue_reason = code
        session.not_before = timezone.now() + recovery.APART
        session.save()
        sessions.changed(session)


@bus.atomically
def add_usage(
    claim: Claim,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    cost_usd: float | None,
) -> None:
    """Tokens are the turn's; `cost_usd` is what the agent's own conversation has cost so far."""
    session = turns.owned(claim)
    session.input_tokens += input_tokens
    session.output_tokens += output_tokens
    session.cached_tokens += cached_tokens
    if cost_usd is not None:
        grown = cost_usd - session.reported_cost_usd
        session.cost_usd = (session.cost_usd or 0.0) + (grown if grown >= 0 else cost_usd)
        session.reported_cost_usd = cost_usd
    session.save(
        update_fields=[
            "input_tokens",
            "output_tokens",
            "cached_tokens",
            "cost_usd",
            "reported_cost_usd",
        ]
    )


@bus.atomically
def end_turn(
    claim: Claim,
    turn_id: int | None,
    *,
    stop_reason: str | None,
    error: tuple[str, str] | None,
    retry_after: float | None = None,
) -> bool:
    """Decide, in one transaction, what the end of a turn means; True when another turn follows.

    In this order: cancel asked → cancelled; a message to be sent now → next turn, if there was one at all;
    a refused plan or a provider's limit → waiting; an error, or a stop reason other than end_turn → failed,
    what is queued is held; a follow-up queued → next turn; else completed, and the card steps on if it still
    stands in the session's column. `retry_after`: seconds that a provider asked to wait.
    """
    session = turns.locked(claim)
    if session.state not in (State.STARTING, State.RUNNING, State.WAITING):
        # Ended already: an attempt has one end, whatever goes wrong behind it.
        return False
    if session.cancel_requested:
        sessions.ended_as_cancelled(session)
        return False
    waits = AgentMessage.objects.filter(session=session)
    # It follows a turn, however that ended; an agent that can't even be started would be started for ever.
    could_start = turn_id is not None or error is None
    follows_now = could_start and waits.filter(queue=AgentMessage.Queue.NEXT).exists()
    if error is not None and error[0] == limited.CODE and not follows_now:
        turn = turns.open_turns(session).first()
        if turn is not None and limited.wait(session, turn, error[1], retry_after):
            return False
    asked = requests.open_of(session).exists()
    if turn_id is not None:
        Turn.objects.filter(pk=turn_id).update(
            state=Turn.State.ENDED, stop_reason=stop_reason or "error", ended_at=timezone.now()
        )
        if stop_reason is not None and session.handover_due:
            session.handover_due = False
            session.save(update_fields=["handover_due"])
    requests.close_open(session, AgentRequest.State.WITHDRAWN)
    if follows_now:
        _goes_on(session)
        return True
    if requests.refused_plan(turn_id) is not None:
        sessions.wait_for_message(session)
        return False
    if error is None and stop_reason != "end_turn":
        error = _stop_error(stop_reason)
    if error is not None:
        failed(session, *error)
        return False
    if waits.filter(queue=AgentMessage.Queue.QUEUED).exists() or turns.open_turns(session).exists():
        _goes_on(session)
        return True
    if turn_id is None and not _last_turn_succeeded(session):
        # It was taken up for a message that was dropped since; nothing was done that could move the card.
        sessions.ended_as_cancelled(session)
        return False
    _completed(session, asked=asked)
    return False


def _last_turn_succeeded(session: AgentSession) -> bool:
    last = Turn.objects.filter(session=session).order_by("-pk").first()
    return last is not None and last.stop_reason == "end_turn"


def _goes_on(session: AgentSession) -> None:
    """Another turn follows; the agent may have ended its turn while it still waited for somebody."""
    if session.state == State.WAITING:
        sessions.works_on(session)


def _stop_error(stop_reason: str | None) -> tuple[str, str]:
    texts = {
        "max_tokens": "The model stopped because its answer reached the token limit.",
        "max_turn_requests": "The agent stopped because it asked its model too often in one turn.",
        "refusal": "The model refused to go on.",
        "cancelled": "The agent stopped its turn without being asked to.",
    }
    text = texts.get(stop_reason or "", f"The agent ended its turn with “{stop_reason}”.")
    return "turn_" + (stop_reason or "unknown")[:30], text + " Send a message to go on."


def failed(session: AgentSession, code: str, message: str) -> None:
    """A turn whose prompt has not left stays `new`: a message or a retry sends it first."""
    requests.close_open(session, AgentRequest.State.WITHDRAWN)
    sessions.stop_waiting(session)
    session.state = State.FAILED
    session.error_code, session.error_message = code, message
    session.ended_at = timezone.now()
    session.save()
    turns.open_turns(session).filter(state=Turn.State.SENT).update(
        state=Turn.State.ENDED, stop_reason="error", ended_at=timezone.now()
    )
    calls.given_up(session)
    entries.add(session, AgentMessage.Role.SYSTEM, "error", message)
    sessions.changed(session, noted=True)


def _completed(session: AgentSession, *, asked: bool) -> None:
    """`asked`: the agent ended its turn with a question open, which never moves a card on (K10)."""
    sessions.stop_waiting(session)
    session.state = State.COMPLETED
    session.ended_at = timezone.now()
    session.save()
    card = session.card
    finished = (
        session.advances
        and not asked
        and card.column_id == session.column_id
        and card.column.column_type == ColumnType.ACTIVE
    )
    sessions.changed(
        session, noted=True, pending_approval=True if finished and not card.auto_mode else None
    )
    if finished and card.auto_mode:
        target = cards.next_column(card)
        if target is not None:
            cards.move_card(card, to=target, by=None)
            # The next step's agent works for the same person as this one.
            AgentSession.objects.filter(card=card, state=State.QUEUED, started_by=None).update(
                started_by=session.started_by_id
            )
