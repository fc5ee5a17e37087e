"""Which worker works on which session: counted, claimed, taken over and let go of, for the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

from django.utils import timezone

from apps.agents import (
    attempts,
    binding,
    calls,
    entries,
    gate,
    limited,
    queueing,
    recovery,
    requests,
    sessions,
    turns,
)
from apps.agents.models import AgentMessage, AgentSession
from apps.boards.models import ColumnType
from apps.cards import services as cards
from apps.cards import worktrees
from apps.events import bus
from apps.runs import limits
from apps.runs.kinds import Claim, Handle, Kind, Surroundings
from apps.runs.models import LIVE, State
from apps.runs.outages import is_outage
from apps.runs.rows import Rows

logger = logging.getLogger(__name__)

Work = Callable[[Kind, Handle, Surroundings], Awaitable[None]]


def _import_work() -> Work:
    from apps.agents.runtime.session import run_session

    return run_session


class AgentKind(Rows):
    """Agent sessions as a kind of run."""

    name = "session"
    model = AgentSession
    _work: Work | None = None

    def claim(self, worker_id: str, host_id: str, *, closing: bool) -> Claim | None:
        for session_id, project_id in limited.due():
            with _one_row_is_no_outage(session_id):
                limited.wake(session_id, project_id)
        counts: queueing.Counts | None = None
        told = 0
        for session in queueing.waiting(host_id):
            counts = counts or queueing.Counts.now(host_id)
            reason = counts.reason_against(session, closing=closing)
            if reason is None:
                recovery.keep_apart(session)
                claim = _take_or_fail(session, worker_id, host_id)
                if claim is not None:
                    return claim
            elif reason != session.queue_reason and told < limits.MOST_TOLD:
                told += 1
                with _one_row_is_no_outage(session.pk):
                    _say_why(session.pk, session.project_id, reason)
        return None

    def news(self, worker_id: str) -> set[int]:
        return requests.with_news(worker_id)

    @bus.atomically
    def take_over(self, run_id: int, *, dead: str, worker_id: str, at: datetime) -> Claim | None:
        found = AgentSession.objects.filter(pk=run_id, worker_id=dead).first()
        if found is None:
            return None
        bus.lock(found.project_id)
        session = (
            AgentSession.objects.select_for_update(of=("self",), no_key=True)
            .filter(pk=run_id, worker_id=dead)
            .first()
        )
        if session is None:
            return None
        session.fence += 1
        session.worker_id = worker_id
        under_way = session.state in (State.STARTING, State.RUNNING)
        if under_way:
            session.state = State.INTERRUPTED
            session.line_up()
            recovery.count_death(session, at)
        calls.interrupted(session)
        session.save()
        if under_way:
            sessions.changed(session)
        return Claim(self.name, session.pk, session.fence, session.host_id or "", worker_id)

    def died_before(self, host_id: str, at: datetime) -> bool:
        return recovery.died_before(host_id, at)

    def line_up(self, host_id: str, at: datetime) -> None:
        recovery.line_up(host_id, at)

    def abandon(self, host_id: str) -> None:
        rows = self.bound().filter(host_id=host_id)
        for session_id, project_id in list(rows.values_list("pk", "project_id")):
            _abandon(session_id, project_id, host_id)

    @bus.atomically
    def release(self, claim: Claim) -> None:
        found = AgentSession.objects.filter(pk=claim.run_id, fence=claim.fence).first()
        if found is None:
            return
        bus.lock(found.project_id)
        session = (
            AgentSession.objects.select_for_update(of=("self",), no_key=True)
            .filter(pk=claim.run_id, fence=claim.fence, worker_id=claim.worker_id)
            .first()
        )
        if session is None:
            return
        session.worker_id = None
        session.pid = None
        if session.cancel_requested and session.state in LIVE:
            sessions.ended_as_cancelled(session)
        elif session.state in (State.STARTING, State.RUNNING):
            # It goes on as soon as somebody claims it. (A message may have queued it again already.)
            session.state = State.INTERRUPTED
            session.save()
            sessions.changed(session)
        elif session.state == State.INTERRUPTED and recovery.is_crash_loop(session):
            attempts.failed(session, "crash_loop", recovery.CRASH_LOOP)
        elif session.state == State.QUEUED and binding.is_free(session):
            session.host_id = session.started_at = session.agent_session_id = None
            binding.bind(session)
            session.save()
            sessions.changed(session)
        else:
            session.save()
            if session.waits_for_answer:
                # It is told that there is no process any more.
                sessions.changed(session)

    @bus.atomically
    def interrupt(self, claim: Claim) -> None:
        try:
            session = turns.locked(claim)
        except turns.NotOurs:
            return
        if session.state in (State.STARTING, State.RUNNING):
            session.state = State.INTERRUPTED
            session.line_up()
            session.save()
            sessions.changed(session)

    @bus.atomically
    def say(self, claim: Claim, text: str) -> None:
        with contextlib.suppress(turns.NotOurs):
            entries.add(turns.owned(claim), AgentMessage.Role.SYSTEM, "status", text)

    async def run(self, handle: Handle, around: Surroundings) -> None:
        # Only workers that run an agent pay for the protocol library, 30 MB and up to a second; the loop,
        # which has cancels and scripts to look after meanwhile, doesn't wait for it.
        if self._work is None:
            self._work = await asyncio.to_thread(_import_work)
        await self._work(self, handle, around)

    def fail(self, claim: Claim, code: str, message: str) -> None:
        """End the attempt as failed; does nothing when the session isn't ours any more."""
        try:
            attempts.end_turn(claim, None, stop_reason=None, error=(code, message))
        except turns.NotOurs:
            return


@bus.atomically
def _abandon(session_id: int, project_id: int, host_id: str) -> None:
    bus.lock(project_id)
    session = (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk=session_id, host_id=host_id)
        .first()
    )
    if session is None:
        return
    worktrees.give_up(session.card_id, host_id)
    session.fence += 1
    session.worker_id = None
    session.pid = None
    if session.state not in LIVE:
        session.save()
        return
    calls.interrupted(session)
    if session.cancel_requested:
        sessions.ended_as_cancelled(session)
    else:
        attempts.failed(session, "host_gone", recovery.host_gone())


@contextlib.contextmanager
def _one_row_is_no_outage(session_id: int) -> Iterator[None]:
    """A row that can't be written must not take the worker and everybody's agents with it."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception("session %s can't be looked at", session_id)


def _take_or_fail(session: queueing.Queued, worker_id: str, host_id: str) -> Claim | None:
    """A session that can't even be looked at must not take the worker and everybody's agents with it."""
    try:
        return _take(session.pk, session.project_id, worker_id, host_id)
    except Exception as error:
        if is_outage(error):
            raise
        logger.exception("session %s can't be started", session.pk)
        _refuse(session.pk, session.project_id, type(error).__name__)
        return None


@bus.atomically
def _refuse(session_id: int, project_id: int, name: str) -> None:
    bus.lock(project_id)
    session = AgentSession.objects.filter(pk=session_id, worker_id=None, state__in=LIVE).first()
    if session is not None:
        text = f"The server stumbled over this session ({name}); its log has the details."
        attempts.failed(session, "internal", text)


@bus.atomically
def _take(session_id: int, project_id: int, worker_id: str, host_id: str) -> Claim | None:
    limits.lock()
    bus.lock(project_id)
    session = queueing.whole(
        session_id,
        "s.worker_id IS NULL AND NOT s.cancel_requested AND s.state IN ('queued', 'interrupted')",
        lock=True,
    )
    if session is None:
        return None
    counts = queueing.Counts.now(host_id)
    if counts.reason_against(queueing.Queued.of(session), closing=False) is not None:
        return None
    found = gate.examine(session.card)
    if isinstance(found, gate.Obstacle) and session.card.column.column_type == ColumnType.ACTIVE:
        sessions.ended_as_cancelled(session)
        cards.defer_card(session.card, found.code, found.message)
        return None
    # What was decided while it waited counts, or since its last attempt: a stricter mode, another agent.
    equipment = found if isinstance(found, gate.Equipment) else gate.equip(session.card)
    if isinstance(equipment, gate.Equipment):
        sessions.equip(session, equipment)
    session.state = State.STARTING
    session.worker_id = worker_id
    session.host_id = host_id
    session.fence += 1
    session.queue_reason = None
    session.queue_rank = 1
    session.not_before = None
    session.started_at = timezone.now()
    session.ended_at = None
    session.error_code = session.error_message = None
    session.save()
    sessions.changed(session)
    return Claim("session", session.pk, session.fence, host_id, worker_id)


@bus.atomically
def _say_why(session_id: int, project_id: int, reason: str) -> None:
    bus.lock(project_id)
    session = AgentSession.objects.filter(pk=session_id, worker_id=None).first()
    if session is not None and session.state in (State.QUEUED, State.INTERRUPTED):
        session.queue_reason = reason
        session.save(update_fields=["queue_reason"])
        sessions.changed(session)
