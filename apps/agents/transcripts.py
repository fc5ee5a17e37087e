"""Reading transcripts as the socket sends them."""

from __future__ import annotations

from django.db.models import Max, Q

from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.agents.serializers import message_frame


def session_position(session_id: int) -> tuple[int, int, int] | None:
    """(project id, last index, last rev); -1 and 0 when there is no message yet."""
    row = (
        AgentSession.objects.filter(pk=session_id)
        .values_list("project_id", "next_index", "next_rev")
        .first()
    )
    return None if row is None else (row[0], row[1] - 1, row[2] - 1)


def revs(session_ids: list[int]) -> dict[int, int]:
    """The last rev of each session, in one query."""
    rows = AgentSession.objects.filter(pk__in=session_ids).values_list("pk", "next_rev")
    return {pk: next_rev - 1 for pk, next_rev in rows}


def messages_after_rev(session_id: int, rev: int, limit: int = 2_000) -> list[tuple[int, str]]:
    """(rev, frame) of what was stored or changed after `rev`, in the order of the revs."""
    rows = AgentMessage.objects.filter(session_id=session_id, rev__gt=rev, index__isnull=False)
    return [(row.rev, message_frame(row)) for row in rows.order_by("rev")[:limit]]


def messages_for_subscription(
    session_id: int, after: int | None, after_rev: int | None
) -> list[tuple[int, str]]:
    """What a new subscriber is sent first.

    With `after` alone: messages up to it that the last turn may have changed, then everything after it.
    With `after_rev`: what changed since. With neither: everything.
    """
    if after_rev is not None:
        return messages_after_rev(session_id, after_rev, limit=100_000)
    rows = AgentMessage.objects.filter(session_id=session_id, index__isnull=False)
    if after is not None:
        last_turn = Turn.objects.filter(session_id=session_id).aggregate(last=Max("id"))["last"]
        rows = rows.filter(Q(index__gt=after) | Q(turn_id=last_turn, turn_id__isnull=False))
    return [(row.rev, message_frame(row)) for row in rows.order_by("index")]
