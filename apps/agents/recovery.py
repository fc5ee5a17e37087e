"""What a dead worker leaves of its sessions, and how they go on.

Everything here runs while nobody owns the session but who takes it over, under a fence that is new.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from apps.agents import sessions, turns
from apps.agents.models import MOST_RESUMES, AgentSession, Turn
from apps.events import bus
from apps.runs.models import State

if TYPE_CHECKING:
    from apps.agents.queueing import Queued

# A second death within that time, and resumes go one by one, so far apart.
DEATHS_WITHIN = timedelta(minutes=10)
APART = timedelta(seconds=5)
ONE_BY_ONE = "resuming_one_by_one"
# A frozen worker may hold a place for as long as it likes; its successor must not fail of it.
BUSY = ("worktree_busy", "repository_busy", "path_in_use")
CRASH_LOOP = (
    f"The worker died in this turn more than {MOST_RESUMES} times, so it is given up. Look at the server's"
    " log, then send a message to go on."
)


def host_gone() -> str:
    return (
        f"The host that has this session's worktree has had no worker for {settings.HOST_GONE_AFTER_S} s."
        " Start its worker again, then send a message to go on. If it doesn't come back, move the card away"
        " and back: it starts on another host from its branch, without what was not committed."
    )


def count_death(session: AgentSession, at: datetime) -> None:
    """Of the turn under way, also of one that wasn't sent yet: starting an agent can kill a worker too.

    The session is not saved here.
    """
    turn = turns.upcoming(session)
    if turn is not None:
        turn.resumes += 1
        turn.resumed_at = at
        turn.save(update_fields=["resumes", "resumed_at"])
    session.deaths = turn.resumes if turn is not None else 1


def is_crash_loop(session: AgentSession) -> bool:
    open_turns = Turn.objects.filter(session=session).exclude(state=Turn.State.ENDED)
    return open_turns.filter(resumes__gt=MOST_RESUMES).exists()


def died_before(host_id: str, at: datetime) -> bool:
    """Whether a worker of the host has died with agents at work in the time before; ask before counting."""
    return Turn.objects.filter(
        session__host_id=host_id, resumed_at__gte=at - DEATHS_WITHIN, resumed_at__lt=at
    ).exists()


@bus.atomically
def line_up(host_id: str, at: datetime) -> None:
    """After a second death in a short time: who goes on when, one by one.

    Who was started last before the death goes first: if it kills the worker again, it does so alone, and the
    others' turns lose none of their resumes to it. Those of a worker that died before it came to this are
    among them, whoever owns them now.
    """
    rows = AgentSession.objects.filter(
        host_id=host_id, state=State.INTERRUPTED, cancel_requested=False
    )
    projects = sorted(set(rows.values_list("project_id", flat=True)))
    for project_id in projects:
        bus.lock(project_id)
    # What another worker takes over in another project meanwhile, it lines up itself.
    rows = rows.filter(project_id__in=projects)
    sessions.hold(rows)
    just_died = rows.filter(turns__resumed_at=at).order_by("-started_at", "-pk")
    before = rows.order_by(F("not_before").asc(nulls_first=True), "-started_at", "-pk")
    line = {session.pk: session for session in [*just_died, *before]}
    for place, session in enumerate(line.values()):
        session.not_before = at + place * APART
        session.queue_reason = ONE_BY_ONE if place else None
        session.save(update_fields=["not_before", "queue_reason"])
        sessions.changed(session)


def keep_apart(session: Queued) -> None:
    """Before a session in line goes on: the others stay behind it, also when it is late."""
    if session.state != State.INTERRUPTED or session.not_before is None:
        return
    behind = AgentSession.objects.filter(
        host_id=session.host_id, state=State.INTERRUPTED, queue_reason=ONE_BY_ONE
    ).exclude(pk=session.pk)
    earliest = timezone.now()
    for pk in behind.order_by("not_before", "pk").values_list("pk", flat=True):
        earliest += APART
        AgentSession.objects.filter(pk=pk, not_before__lt=earliest).update(not_before=earliest)
