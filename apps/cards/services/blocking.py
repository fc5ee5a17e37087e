"""Cards that wait for others: who may start now that something they waited for is complete, and who only
could because it is gone (X6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.db import connection
from django.db.models import QuerySet

from apps.boards.models import ColumnType
from apps.cards import starting
from apps.cards.gate import BLOCKED, own_obstacle
from apps.cards.models import Card, Dependency
from apps.cards.services.places import Places
from apps.common.errors import Invalid, NotFound


def start_unblocked(blocker_id: int, *, by: int | None, places: Places | None = None) -> None:
    """Start the cards that were deferred only because of this one (K14); what is told of them has their
    places."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT card_id FROM cards_dependency WHERE blocker_id = %s", [blocker_id])
        waiting = [row[0] for row in cursor.fetchall()]
    if waiting:
        if places is not None:
            places.write()
        start_if_unblocked(waiting, by=by)


def start_if_unblocked(card_ids: Iterable[int], *, by: int | None) -> None:
    for card in _blocked(card_ids):
        if own_obstacle(card) is None:
            starting.start(card, by=by)


def reconsider_blocked(card_ids: Iterable[int]) -> None:
    """What they waited for is gone and was never complete: they say so, and wait for a person."""
    for card in _blocked(card_ids):
        starting.reconsider(card)


def _blocked(card_ids: Iterable[int]) -> QuerySet[Card]:
    waiting = Card.objects.select_related("column").filter(
        pk__in=list(card_ids), deferred_code=BLOCKED, column__column_type=ColumnType.ACTIVE
    )
    return waiting.order_by("pk")


def set_blockers(card: Card, blocker_ids: Iterable[int]) -> bool:
    """Replace what the card waits for; whether that changed anything. Raises on a stranger or a circle."""
    wanted = set(blocker_ids)
    now = set(Dependency.objects.filter(card=card).values_list("blocker_id", flat=True))
    if wanted == now:
        return False
    known = Card.objects.filter(project_id=card.project_id, pk__in=wanted).count()
    if known != len(wanted):
        raise NotFound("blockedBy: there is no such card in this project.")
    if card.pk in wanted or _leads_to(card, wanted):
        raise Invalid("blockedBy: a card can't wait for itself, not even in a roundabout way.")
    Dependency.objects.filter(card=card, blocker_id__in=now - wanted).delete()
    Dependency.objects.bulk_create(
        Dependency(card=card, blocker_id=each) for each in sorted(wanted - now)
    )
    return True


def _leads_to(card: Card, blockers: set[int]) -> bool:
    """Whether any of the blockers waits, however indirectly, for the card. One query."""
    waits_for: dict[int, list[int]] = defaultdict(list)
    pairs = Dependency.objects.filter(card__project_id=card.project_id).exclude(card=card)
    for each, blocker in pairs.values_list("card_id", "blocker_id"):
        waits_for[each].append(blocker)
    seen: set[int] = set()
    ahead = list(blockers)
    while ahead:
        here = ahead.pop()
        if here == card.pk:
            return True
        if here not in seen:
            seen.add(here)
            ahead.extend(waits_for[here])
    return False
