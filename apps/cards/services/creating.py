from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from apps.boards.models import Column, ColumnType
from apps.cards.events import CardCreated
from apps.cards.models import Card
from apps.cards.selectors import landing_column
from apps.cards.services.blocking import set_blockers
from apps.cards.services.standing import one
from apps.common.errors import NotFound
from apps.common.fetching import insert
from apps.events import bus
from apps.projects.models import Project

COMPLETE = (ColumnType.DONE, ColumnType.ARCHIVE)


@bus.atomically
def create_or_find_card(
    project: Project,
    *,
    by: int | None,
    title: str,
    prompt: str = "",
    labels: Sequence[str] = (),
    column: Column | None = None,
    external_id: str | None = None,
    auto_mode: bool = False,
    defer: bool = False,
    permission_mode: str | None = None,
    blocked_by: Sequence[int] = (),
) -> tuple[Card, bool]:
    """The new card, last in its column, and True; or the card that has this `external_id`, and False.

    However many ask at once with the same `external_id`, one card comes of it, and it starts once. A card
    in an active column starts its agent, unless `defer` puts that off.
    """
    bus.lock(project.pk)
    if external_id is not None:
        found = Card.objects.filter(project=project, external_id=external_id).first()
        if found is not None:
            return found, False
    if column is None:
        column = landing_column(project.pk)
    place = one(
        "SELECT (SELECT COUNT(*) FROM cards_card WHERE column_id = col.id), stream.version + 1"
        " FROM boards_column col JOIN events_eventstream stream"
        " ON stream.project_id = col.project_id WHERE col.id = %s",
        [column.pk],
    )
    if place is None:
        raise NotFound("Somebody has just deleted this column.")
    position, seq = place
    starts = column.column_type == ColumnType.ACTIVE
    card = insert(
        Card(
            project=project,
            column=column,
            position=position,
            title=title,
            prompt=prompt,
            labels=list(labels),
            auto_mode=auto_mode,
            defer=defer and starts,
            permission_mode=permission_mode,
            external_id=external_id,
            completed_at=timezone.now() if column.column_type in COMPLETE else None,
            created_by_id=by,
            noted_seq=seq,
            noted_by=by,
        )
    )
    if blocked_by:
        set_blockers(card, blocked_by)
    event = CardCreated(project_id=project.pk, card=card, by=by, starts=starts)
    bus.publish(event, by=by)
    if by is not None and not starts:
        card.shown = event.row
    return card, True


def create_card(
    project: Project,
    *,
    by: int | None,
    title: str,
    prompt: str = "",
    labels: Sequence[str] = (),
    column: Column | None = None,
    external_id: str | None = None,
    auto_mode: bool = False,
    defer: bool = False,
    permission_mode: str | None = None,
) -> Card:
    """`create_or_find_card`, for whom it is the same whether it was there already."""
    card, _ = create_or_find_card(
        project,
        by=by,
        title=title,
        prompt=prompt,
        labels=labels,
        column=column,
        external_id=external_id,
        auto_mode=auto_mode,
        defer=defer,
        permission_mode=permission_mode,
    )
    return card
