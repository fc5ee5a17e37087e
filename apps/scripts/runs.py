"""What people do with runs: start one, cancel it, take its script away."""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils import timezone

from apps.common.errors import Conflict
from apps.common.ids import public_id
from apps.events import bus
from apps.runs.doorbell import ring
from apps.runs.models import LIVE, State
from apps.runs.rows import in_order
from apps.scripts.events import ScriptStatus
from apps.scripts.models import Script, ScriptRun
from apps.scripts.selectors import fresh

logger = logging.getLogger(__name__)


def changed(run: ScriptRun, *, by: int | None = None) -> None:
    """Tell of the run's new state. One whose script is gone concerns nobody any more."""
    of = "a deleted script" if run.script_id is None else public_id("script", run.script_id)
    state = "being stopped" if run.cancel_requested and run.state in LIVE else run.state
    why = f" ({run.error_code})" if run.error_code else ""
    said = f"{public_id('run', run.pk)} of {of} is {state}{why}"
    transaction.on_commit(lambda: logger.info("%s", said), robust=True)
    if run.script_id is not None:
        status = ScriptStatus(project_id=run.project_id, script_id=run.script_id, run=run)
        bus.publish(status, by=by)


def end(
    run: ScriptRun,
    state: State,
    error: tuple[str, str] | None = None,
    *,
    by: int | None = None,
) -> None:
    """Its only end, in the transaction of whoever holds the project's lock."""
    run.state = state
    run.ended_at = timezone.now()
    run.error_code, run.error_message = error or (None, None)
    run.save()
    changed(run, by=by)


@bus.atomically
def start(script: Script, *, by: int | None) -> ScriptRun:
    """Queue a run, in the place of the last one; Conflict while that isn't over."""
    bus.lock(script.project_id)
    script = fresh(script)
    if ScriptRun.objects.filter(script=script, state__in=LIVE).exists():
        raise Conflict(
            "This script is running. Wait for its end, or cancel it first.", code="already_running"
        )
    ScriptRun.objects.filter(script=script, worker_id=None).delete()
    run = ScriptRun.objects.create(
        project_id=script.project_id, script=script, command=script.command, started_by_id=by
    )
    changed(run, by=by)
    ring()
    return run


@bus.atomically
def cancel(script: Script, *, by: int) -> ScriptRun:
    """Ask for its end: at once where nobody works on it, else it has five seconds. Repeatable until then."""
    bus.lock(script.project_id)
    script = fresh(script)
    run = ScriptRun.objects.filter(script=script, state__in=LIVE).first()
    if run is None:
        raise Conflict("This script is not running.", code="not_running")
    if run.cancel_requested:
        return run
    run.cancel_requested = True
    if run.worker_id is None:
        end(run, State.CANCELLED, by=by)
    else:
        run.save()
        changed(run, by=by)
        ring()
    return run


def let_go(*, project_id: int, script_id: int | None = None) -> None:
    """Before a script goes, or all of a project's: what runs is cancelled. With the project's lock held.

    A run that a worker owns stays until everything it has started is gone; then the worker removes it.
    """
    runs = ScriptRun.objects.filter(project_id=project_id)
    if script_id is not None:
        runs = runs.filter(script_id=script_id)
    runs.filter(worker_id=None).delete()
    if list(in_order(runs).values_list("pk", flat=True)):
        runs.update(cancel_requested=True)
        ring()
