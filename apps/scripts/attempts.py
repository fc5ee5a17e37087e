"""What a worker writes about a run: that it begins, and how it ended.

Each function is one transaction that names its fence; a stale owner gets `NotOurs` and writes nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from apps.cards import unshown
from apps.common.ids import public_id
from apps.events import bus
from apps.host.environment import agent_environment, home_for
from apps.projects.models import Project
from apps.runs.kinds import Claim
from apps.runs.models import State
from apps.scripts import runs, wording
from apps.scripts.models import ScriptOutput, ScriptRun
from apps.scripts.serializers import SERVER_STOPPED


class NotOurs(Exception):
    """The row has another fence, or is gone: write nothing."""


def locked(claim: Claim) -> ScriptRun:
    """Stream first, then the run; raises NotOurs."""
    rows = ScriptRun.objects.filter(pk=claim.run_id)
    project_id = rows.values_list("project_id", flat=True).first()
    if project_id is None:
        raise NotOurs(claim.wire_id)
    bus.lock(project_id)
    run = (
        rows.select_for_update(of=("self",), no_key=True)
        .filter(fence=claim.fence, worker_id=claim.worker_id)
        .first()
    )
    if run is None:
        raise NotOurs(claim.wire_id)
    return run


@bus.atomically
def begin(claim: Claim) -> bool:
    """From here on it counts as run, and is never run again. False if it was cancelled before that."""
    run = locked(claim)
    if run.cancel_requested:
        runs.end(run, State.CANCELLED)
        return False
    run.state = State.RUNNING
    run.save()
    return True


@dataclass(frozen=True)
class Setting:
    """`secrets`: values that must not be stored or shown, wherever the script has them from."""

    command: str
    directory: Path
    environment: dict[str, str]
    secrets: list[str] = field(repr=False)


def setting(claim: Claim) -> Setting | None:
    """None when the project has just been deleted. Makes the directory that is the script's HOME."""
    rows = ScriptRun.objects.select_related("started_by")
    run = rows.filter(pk=claim.run_id, fence=claim.fence).first()
    if run is None:
        raise NotOurs(claim.wire_id)
    project = Project.objects.select_related("organization").filter(pk=run.project_id).first()
    if project is None:
        return None
    person = run.started_by
    environment = agent_environment(
        home=home_for(settings.DATA_DIR, public_id("project", project.pk), "scripts"),
        extra={},
        person=(person.display_name, person.email) if person else ("", ""),
        marker=claim.marker,
    )
    return Setting(run.command, Path(project.path), environment, unshown.values(project))


@bus.atomically
def ended(claim: Claim, status: int, *, stopped: bool) -> None:
    """`status` as the system gives it, negative for a signal; `stopped`: by the server's own stop."""
    run = locked(claim)
    run.exit_code = status if status >= 0 else 128 - status
    if run.cancel_requested:
        runs.end(run, State.CANCELLED)
    elif stopped:
        runs.end(run, State.FAILED, (SERVER_STOPPED, wording.SERVER_STOPPED))
    elif run.exit_code == 0:
        runs.end(run, State.COMPLETED)
    else:
        runs.end(run, State.FAILED, ("exit_code", wording.exit_sentence(run.exit_code)))


@bus.atomically
def failed(claim: Claim, code: str, message: str) -> None:
    runs.end(locked(claim), State.FAILED, (code, message))


@bus.atomically
def interrupted(claim: Claim) -> None:
    """The worker stops before the run could end in order. What has not begun begins elsewhere."""
    with contextlib.suppress(NotOurs):
        run = locked(claim)
        if run.state == State.RUNNING:
            runs.end(run, State.FAILED, (SERVER_STOPPED, wording.SERVER_STOPPED))


@bus.atomically
def prune(claim: Claim, before: int) -> None:
    """Remove the run's output up to that ordinal."""
    old = ScriptOutput.objects.filter(run_id=claim.run_id, fence=claim.fence, ordinal__lt=before)
    old.delete()
