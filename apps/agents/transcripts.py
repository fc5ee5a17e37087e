"""Reading transcripts as the socket sends them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Max, Q

from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.agents.serializers import message_frame

PAGE = 200


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


@dataclass(frozen=True)
class Part:
    """What a new subscriber is sent first, as it stood at `rev`.

    Everything, or with `after` what comes behind that index, and of what comes before it the messages of the
    last turn, which may have changed it.
    """

    session_id: int
    rev: int
    after: int | None
    last_turn: int | None


def part(session_id: int, after: int | None, rev: int) -> Part:
    last_turn: int | None = None
    if after is not None:
        last_turn = Turn.objects.filter(session_id=session_id).aggregate(last=Max("id"))["last"]
    return Part(session_id, rev, after, last_turn)


def page(part: Part, last: int) -> list[tuple[int, str]]:
    """(index, frame) behind the index `last`, in their order; fewer than `PAGE` are the last ones."""
    rows = AgentMessage.objects.filter(
        session_id=part.session_id, index__gt=last, rev__lte=part.rev
    )
    if part.after is not None:
        rows = rows.filter(
            Q(index__gt=part.after) | Q(turn_id=part.last_turn, turn_id__isnull=False)
        )
    return [(row.index or 0, message_frame(row)) for row in rows.order_by("index")[:PAGE]]
