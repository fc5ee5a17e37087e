"""Sessions that a provider's rate or usage limit has stopped (X12): they wait, and go on by themselves."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from apps.agents import entries, requests, sessions
from apps.agents.models import AgentMessage, AgentRequest, AgentSession, Turn
from apps.common.times import iso
from apps.events import bus
from apps.runs.models import State

CODE = "rate_limited"
# Where the provider doesn't say when: minutes until the next try, the last for all that follow.
TRIES_MIN = (1, 5, 15, 60)
LONGEST = timedelta(hours=24)
# Where it does: nobody's limit lasts longer.
LONGEST_KNOWN = timedelta(days=31)


def wait(session: AgentSession, turn: Turn, message: str, retry_after: float | None) -> bool:
    """Let the session wait for its limit, in the transaction of the turn's end; False when it was tried for
    24 hours without knowing the limit's end.

    The turn stays as it is: a prompt that was sent is never sent again, its work is taken up.
    """
    now = timezone.now()
    if turn.limited_at is None or _worked_since(turn):
        turn.limited_since, turn.limit_tries = now, 0
    if retry_after is not None:
        pause = timedelta(seconds=min(max(retry_after, 1.0), LONGEST_KNOWN.total_seconds()))
    elif now - (turn.limited_since or now) > LONGEST:
        return False
    else:
        pause = timedelta(minutes=TRIES_MIN[min(turn.limit_tries, len(TRIES_MIN) - 1)])
    turn.limited_at = now
    turn.limit_tries += 1
    turn.save(update_fields=["limited_since", "limited_at", "limit_tries"])
    requests.close_open(session, AgentRequest.State.WITHDRAWN)
    session.state = State.WAITING
    session.not_before = now + pause
    session.waiting_for = {"kind": "limit", "until": iso(session.not_before)}
    session.waiting_since = now
    session.save()
    entries.add(
        session,
        AgentMessage.Role.SYSTEM,
        "status",
        f"{message} It goes on by itself in {_words(pause)}.",
        turn_id=turn.pk,
    )
    sessions.changed(session, noted=True)
    return True


def _worked_since(turn: Turn) -> bool:
    """Whether the agent got anywhere after the last limit: the next one begins a new row of tries."""
    return AgentMessage.objects.filter(
        turn_id=turn.pk,
        role__in=[AgentMessage.Role.ASSISTANT, AgentMessage.Role.TOOL],
        created_at__gt=turn.limited_at,
    ).exists()


def _words(pause: timedelta) -> str:
    seconds = round(pause.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} minutes"


def due() -> list[tuple[int, int]]:
    """(session, project) of those whose time has come."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, project_id FROM agents_agentsession"
            " WHERE state = 'waiting' AND worker_id IS NULL AND not_before <= %s",
            [connection.ops.adapt_datetimefield_value(timezone.now())],
        )
        rows: list[tuple[int, int]] = cursor.fetchall()
    return rows


@bus.atomically
def wake(session_id: int, project_id: int) -> None:
    """Queue it before everything that is new."""
    bus.lock(project_id)
    session = (
        AgentSession.objects.select_for_update(of=("self",), no_key=True)
        .filter(pk=session_id, state=State.WAITING, worker_id=None, cancel_requested=False)
        .first()
    )
    if session is not None and (session.waiting_for or {}).get("kind") == "limit":
        sessions.queue_at_head(session)
