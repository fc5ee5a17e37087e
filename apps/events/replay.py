"""Reading stored events again: what a client missed, and what a hub lacks."""

from __future__ import annotations

from collections.abc import Iterable

from apps.common.paging import page_of, page_up_to
from apps.events.bus import Position, frame
from apps.events.models import EventStream, StoredEvent, new_epoch

# A client that is further behind reloads the board instead; that is less work for both.
LONGEST_REPLAY = 5_000


def frames_since(project_id: int, seq: int, *, limit: int) -> tuple[list[tuple[int, str]], bool]:
    """Up to `limit` (seq, frame) after `seq`, in order, fewer where they are long; whether there are more."""
    rows = StoredEvent.objects.filter(stream_id=project_id, seq__gt=seq)
    found, more = page_up_to(rows, "seq", "data", limit=limit)
    return [(row.seq, frame(row.type, row.seq, row.data)) for row in found], more


def stored(project_id: int, *, after: int | None, limit: int) -> list[StoredEvent]:
    """In order: the first `limit` after that seq, or without one the last; fewer where they are long."""
    rows = StoredEvent.objects.filter(stream_id=project_id)
    if after is not None:
        return page_of(rows.filter(seq__gt=after).order_by("seq"), "data", limit=limit)[0]
    return page_of(rows.order_by("-seq"), "data", limit=limit)[0][::-1]


def positions(project_ids: Iterable[int]) -> dict[int, Position]:
    """Where each stream stands; one query, however many projects."""
    rows = EventStream.objects.filter(pk__in=list(project_ids)).values_list(
        "project_id", "epoch", "version"
    )
    return {row[0]: Position(row[1], row[2]) for row in rows}


def can_replay(project_id: int, since: Position | int, now: Position) -> bool:
    """Whether every event after `since` is still there to be sent."""
    seq = since if isinstance(since, int) else since.seq
    if isinstance(since, Position) and since.epoch != now.epoch:
        return False
    if seq > now.seq or now.seq - seq > LONGEST_REPLAY:
        return False
    if seq == now.seq:
        return True
    return StoredEvent.objects.filter(stream_id=project_id, seq=seq + 1).exists()


def renew_epoch(project_id: int, epoch: str) -> Position | None:
    """Begin a new epoch, unless somebody has since this one was read; where the stream stands then."""
    EventStream.objects.filter(pk=project_id, epoch=epoch).update(epoch=new_epoch())
    return positions([project_id]).get(project_id)
