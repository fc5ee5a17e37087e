"""Sessions that a provider's rate or usage limit has stopped (X12): they wait, and go on by themselves."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apps.agents import sessions, turns
from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.agents.serializers import iso
from apps.events import bus
from apps.runs.models import State

CODE = "rate_limited"
# Where the provider doesn't say when: minutes until the next try, the last for all that follow.
TRIES_MIN = (1, 5, 15, 60)
LONGEST = timedelta(hours=24)


def wait(session: AgentSession, turn: Turn, message: str, retry_after: float | None) -> bool:
    """Let the session wait for its limit, in the transaction of the turn's end; False after 24 hours.

    The turn stays `sent`: its prompt is never sent again, its work is taken up.
    """
    now = timezone.now()
    since = turn.limited_since or now
    if now - since > LONGEST:
        return False
    pause = (
        timedelta(seconds=min(max(retry_after, 1.0), LONGEST.total_seconds()))
        if retry_after is not None
        else timedelta(minutes=TRIES_MIN[min(turn.limit_tries, len(TRIES_MIN) - 1)])
    )
    turn.limited_since = since
    turn.limit_tries += 1
    turn.save(update_fields=["limited_since", "limit_tries"])
    session.state = State.WAITING
    session.not_before = now + pause
    session.waiting_for = {"kind": "limit", "until": iso(session.not_before)}
    session.waiting_since = now
    session.save()
    turns.add_message(
        session,
        AgentMessage.Role.SYSTEM,
        "status",
        f"{message} It goes on by itself in {_words(pause)}.",
        turn_id=turn.pk,
    )
    sessions.changed(session, noted=True)
    return True


def _words(pause: timedelta) -> str:
    seconds = round(pause.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} minutes"


def wake_due() -> None:
    """Queue the sessions whose time has come, before everything that is new."""
    due = AgentSession.objects.filter(
        state=State.WAITING, worker_id=None, not_before__lte=timezone.now()
    )
    for session_id, project_id in due.values_list("pk", "project_id"):
        _wake(session_id, project_id)


@bus.atomically
def _wake(session_id: int, project_id: int) -> None:
    bus.lock(project_id)
    session = (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk=session_id, state=State.WAITING, worker_id=None, cancel_requested=False)
        .first()
    )
    if session is not None and (session.waiting_for or {}).get("kind") == "limit":
        sessions.queue_at_head(session)
