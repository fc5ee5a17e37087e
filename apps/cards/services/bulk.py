"""The same change to many cards of a project: to all of them or, if one of them can't, to none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from apps.cards import starting
from apps.cards.models import Card
from apps.cards.serializers import MOST_LABELS, distinct
from apps.cards.services.deleting import refuse_to_lose_work, refuse_while_running, take_out
from apps.cards.services.editing import set_auto_mode, update_card
from apps.cards.services.moving import complete_card, move, start_card
from apps.cards.services.places import Places
from apps.cards.services.standing import fresh
from apps.common.errors import Conflict, DomainError, Invalid, NotFound
from apps.common.ids import public_id
from apps.events import bus
from apps.projects.hosting import told

Change = Callable[[Card], object]
_MOVING: dict[str, Callable[..., object]] = {"complete": complete_card, "start": start_card}


def change_cards(
    project_id: int, card_ids: Sequence[int], *, action: str, by: int, **options: Any
) -> None:
    """In the given order, each with its own events. `options` are those of the action, as in `BulkInput`.

    When cards refuse, the error is that of the first and its details name them all, with their reasons.
    A card that the gate keeps from starting refuses nothing: it is deferred and says why.
    """
    if action == "delete":
        _delete(project_id, card_ids, force=options.get("force", False), by=by)
    else:
        _change(project_id, card_ids, action=action, by=by, **options)


@bus.atomically
def _change(
    project_id: int, card_ids: Sequence[int], *, action: str, by: int, **options: Any
) -> None:
    bus.lock(project_id)
    cards = _found(project_id, card_ids)
    if action != "label":
        starting.hold(list(card_ids))
    places = Places()
    if action == "move":
        _move(cards, places, by=by, **options)
    elif action in _MOVING:
        _for_each(cards, partial(_MOVING[action], by=by, places=places))
    elif action == "label":
        named = {key: options.get(f"{key}_labels", []) for key in ("add", "remove")}
        _for_each(cards, partial(_label, by=by, **named))
    elif action == "autoMode":
        _for_each(cards, partial(set_auto_mode, enabled=options["enabled"], by=by))
    else:
        _for_each(cards, partial(starting.stop, by=by, did=starting.STOPPED))
    places.write()


def _delete(project_id: int, card_ids: Sequence[int], *, force: bool, by: int) -> None:
    if not force:
        cards = _found(project_id, card_ids)
        _for_each(cards, refuse_while_running)
        _for_each(cards, _refuse_to_lose_work)
    _delete_now(project_id, card_ids, force=force, by=by)


def _refuse_to_lose_work(card: Card) -> None:
    with told():
        refuse_to_lose_work(card)


@bus.atomically
def _delete_now(project_id: int, card_ids: Sequence[int], *, force: bool, by: int) -> None:
    bus.lock(project_id)
    cards = _found(project_id, card_ids)
    if not force:
        _for_each(cards, refuse_while_running)
    take_out(cards, force=force, by=by)


def _found(project_id: int, card_ids: Sequence[int]) -> list[Card]:
    rows = Card.objects.select_related("column").filter(project_id=project_id, pk__in=card_ids)
    by_id = {card.pk: card for card in rows}
    missing = NotFound("There is no such card in this project.")
    _refuse((card_id, missing) for card_id in card_ids if card_id not in by_id)
    return [by_id[card_id] for card_id in card_ids]


def _for_each(cards: list[Card], change: Change) -> None:
    """Tries all of them, so that whoever asked hears of every card that refuses."""
    refused: list[tuple[int, DomainError]] = []
    for card in cards:
        try:
            change(card)
        except (Conflict, Invalid, NotFound) as error:
            refused.append((card.pk, error))
    _refuse(refused)


def _refuse(refused: Iterable[tuple[int, DomainError]]) -> None:
    reasons = [(public_id("card", card_id), error) for card_id, error in refused]
    if not reasons:
        return
    first_id, first = reasons[0]
    more = f" ({len(reasons) - 1} more refuse, see details)" if len(reasons) > 1 else ""
    raise type(first)(
        f"Nothing was changed, because of {first_id}{more}: {first.message}",
        code=first.code,
        details={
            "cards": [
                {"cardId": card_id, "code": error.code, "message": error.message}
                for card_id, error in reasons
            ]
        },
    )


def _label(card: Card, *, by: int, add: list[str], remove: list[str]) -> None:
    card = fresh(card)
    labels = distinct([each for each in [*card.labels, *add] if each not in remove])
    if len(labels) > MOST_LABELS:
        raise Invalid(f"A card can have at most {MOST_LABELS} labels.")
    update_card(card, by=by, labels=labels)


def _move(cards: list[Card], places: Places, *, by: int, column_id: int, **options: Any) -> None:
    """One behind the other, as they were listed: at the end of the column, or all from `position` on."""
    position: int | None = options.get("position")
    before = (
        None if position is None else _place_before(cards, places.in_order(column_id), position)
    )

    def move_one(card: Card) -> None:
        nonlocal before
        order = places.in_order(column_id)
        move(
            card.pk,
            project_id=card.project_id,
            column_id=column_id,
            position=None if position is None else _behind(before, card.pk, order),
            by=by,
            defer=options.get("defer", False),
            places=places,
        )
        before = card.pk

    _for_each(cards, move_one)


def _place_before(cards: list[Card], order: list[int], position: int) -> int | None:
    """The card that will stand before them all, counted among those of the column that are not moved."""
    moved = {card.pk for card in cards}
    first = [card_id for card_id in order if card_id not in moved][: max(position, 0)]
    return first[-1] if first else None


def _behind(before: int | None, card_id: int, order: list[int]) -> int:
    """The position right behind that card once this one is taken out of where it stands."""
    if before is None:
        return 0
    place = order.index(before)
    return place + (0 if card_id in order[:place] else 1)
