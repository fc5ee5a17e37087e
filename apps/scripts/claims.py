"""Scripts as a kind of run: which worker runs which, and what becomes of a dead worker's.

A script is run once or not at all: it may have deployed or paid something. A claim that came to nothing is
queued again; what has begun is never repeated.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Iterator
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from apps.events import bus
from apps.runs import limits
from apps.runs.doorbell import ring
from apps.runs.kinds import Claim, Handle, Surroundings
from apps.runs.models import LIVE, State
from apps.runs.outages import is_outage
from apps.runs.rows import Rows
from apps.scripts import attempts, runs, wording
from apps.scripts.attempts import NotOurs
from apps.scripts.models import ScriptRun

logger = logging.getLogger(__name__)

READ_AT_ONCE = 500


class ScriptKind(Rows):
    name = "run"
    model = ScriptRun

    def claim(self, worker_id: str, host_id: str, *, closing: bool) -> Claim | None:
        busy: set[int | None] | None = None
        told = 0
        for run in _waiting(host_id):
            busy = _busy() if busy is None else busy
            reason = "disk_low" if closing else None
            if run.script_id in busy:
                reason = "previous_run"
            try:
                if reason is None:
                    claim = _take(run, worker_id, host_id)
                    if claim is not None:
                        return claim
                elif reason != run.queue_reason and told < limits.MOST_TOLD:
                    told += 1
                    _say_why(run, reason)
            except Exception as error:
                if is_outage(error):
                    raise
                # One row must not take the worker and everybody's agents with it.
                logger.exception("run %s can't be looked at", run.pk)
        return None

    def news(self, worker_id: str) -> set[int]:
        return set()

    @bus.atomically
    def take_over(self, run_id: int, *, dead: str, worker_id: str, at: datetime) -> Claim | None:
        run = _locked(run_id, worker_id=dead)
        if run is None:
            return None
        run.fence += 1
        run.worker_id = worker_id
        if run.state == State.RUNNING:
            run.state = State.INTERRUPTED
            run.save()
            runs.changed(run)
        else:
            run.save()
        return Claim(self.name, run.pk, run.fence, run.host_id or "", worker_id)

    def died_before(self, host_id: str, at: datetime) -> bool:
        return False

    def line_up(self, host_id: str, at: datetime) -> None:
        return None

    def abandon(self, host_id: str) -> None:
        for run_id in list(self.bound().filter(host_id=host_id).values_list("pk", flat=True)):
            _abandon(run_id, host_id)

    @bus.atomically
    def release(self, claim: Claim) -> None:
        with contextlib.suppress(NotOurs):
            run = attempts.locked(claim)
            run.worker_id = None
            _let_go(run, ("worker_died", wording.WORKER_DIED))

    def interrupt(self, claim: Claim) -> None:
        attempts.interrupted(claim)

    @bus.atomically
    def say(self, claim: Claim, text: str) -> None:
        with contextlib.suppress(NotOurs):
            run = attempts.locked(claim)
            run.error_code = run.error_code or "processes_left"
            run.error_message = f"{run.error_message or ''} {text}".strip()
            run.save()
            runs.changed(run)

    def run(self, handle: Handle, around: Surroundings) -> Awaitable[None]:
        from apps.scripts.running import run_script

        return run_script(handle, around)

    def fail(self, claim: Claim, code: str, message: str) -> None:
        with contextlib.suppress(NotOurs):
            attempts.failed(claim, code, message)


def _waiting(host_id: str) -> Iterator[ScriptRun]:
    """Runs that this host may claim, the oldest first, read some at a time."""
    here = Q(host_id=None) | Q(host_id=host_id)
    queue = ScriptRun.objects.filter(here, state=State.QUEUED, worker_id=None)
    queue = queue.filter(cancel_requested=False).order_by("pk")
    last = 0
    while True:
        runs = list(queue.filter(pk__gt=last)[:READ_AT_ONCE])
        yield from runs
        if len(runs) < READ_AT_ONCE:
            return
        last = runs[-1].pk


def _busy() -> set[int | None]:
    """Scripts of which something is still owned."""
    owned = ScriptRun.objects.filter(worker_id__isnull=False, script_id__isnull=False)
    return set(owned.values_list("script_id", flat=True))


def _locked(run_id: int, **given: str | None) -> ScriptRun | None:
    """Stream first, then the run, if it is still so."""
    rows = ScriptRun.objects.filter(pk=run_id)
    project_id = rows.values_list("project_id", flat=True).first()
    if project_id is None:
        return None
    bus.lock(project_id)
    return rows.select_for_update(of=("self",), no_key=True).filter(**given).first()


def _let_go(run: ScriptRun, why: tuple[str, str]) -> None:
    """Nobody owns the run and nothing of it is left. `why` it ended, if it was at work."""
    if run.script_id is None:
        run.delete()
    elif run.state not in LIVE:
        run.save()
    elif run.cancel_requested:
        runs.end(run, State.CANCELLED)
    elif run.state in (State.QUEUED, State.STARTING):
        run.state, run.host_id, run.started_at = State.QUEUED, None, None
        run.save()
        runs.changed(run)
        ring()
    else:
        runs.end(run, State.FAILED, why)


@bus.atomically
def _abandon(run_id: int, host_id: str) -> None:
    run = _locked(run_id, host_id=host_id)
    if run is not None:
        run.fence += 1
        run.worker_id = None
        _let_go(run, ("host_gone", wording.HOST_GONE))


@bus.atomically
def _take(waiting: ScriptRun, worker_id: str, host_id: str) -> Claim | None:
    run = _locked(waiting.pk, state=State.QUEUED, worker_id=None)
    if run is None or run.cancel_requested:
        return None
    others = ScriptRun.objects.filter(script=run.script, worker_id__isnull=False)
    if others.exists():
        return None
    run.state = State.STARTING
    run.worker_id = worker_id
    run.host_id = host_id
    run.fence += 1
    run.queue_reason = None
    run.started_at = timezone.now()
    run.save()
    runs.changed(run)
    return Claim(ScriptKind.name, run.pk, run.fence, host_id, worker_id)


@bus.atomically
def _say_why(waiting: ScriptRun, reason: str) -> None:
    run = _locked(waiting.pk, state=State.QUEUED, worker_id=None)
    if run is not None:
        run.queue_reason = reason
        run.save()
        runs.changed(run)
