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
    rows = AgentMessage.objects.filter(session_id=session_id, rev__gt=rev)
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


@dataclass(frozen=True)
class Page:
    """(index, frame) in the order of the indexes; the last one ends with what is queued and has no index."""

    rows: list[tuple[int | None, str]]
    more: bool


def page(part: Part, last: int) -> Page:
    """What comes behind the index `last`."""
    stored = AgentMessage.objects.filter(session_id=part.session_id, rev__lte=part.rev)
    rows = stored.filter(index__isnull=False, index__gt=last)
    if part.after is not None:
        rows = rows.filter(
            Q(index__gt=part.after) | Q(turn_id=part.last_turn, turn_id__isnull=False)
        )
    found = list(rows.order_by("index")[:PAGE])
    more = len(found) == PAGE
    if not more:
        found += stored.filter(index=None).order_by("id")
    return Page([(row.index, message_frame(row)) for row in found], more)
