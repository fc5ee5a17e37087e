"""How each person has laid out the panels of cards: opaque to the server, kept per card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Length

from apps.accounts.selectors import hold_user
from apps.cards.deleting import held_off
from apps.cards.models import Card, PanelState
from apps.common.envelope import dumps
from apps.common.errors import Invalid, TooLarge
from apps.common.ids import BadId, parse_id, public_id
from apps.common.sizes import size
from apps.events.bus import atomically

LONGEST = 256 * 1024
MOST_CARDS = 10_000


def states_of(project_id: int, user_id: int) -> bytes:
    """The map as JSON: it is never taken apart here. One query."""
    rows = PanelState.objects.filter(card__project=project_id, user=user_id).order_by("card_id")
    entries = [
        f'"{public_id("card", card_id)}":{state}'
        for card_id, state in rows.values_list("card_id", "state")
    ]
    return f"{{{','.join(entries)}}}".encode()


def checked_states(body: Any) -> dict[int, str | None]:
    """card id → its state as JSON, None for one that goes; what is no card's id is left out."""
    if len(body) > MOST_CARDS:
        raise TooLarge(f"At most {MOST_CARDS} cards at once.")
    states: dict[int, str | None] = {}
    for key, state in body.items():
        if state is not None and not isinstance(state, dict):
            raise Invalid(f"{key[:40]}: the state of a card's panels must be an object, or null")
        try:
            states[parse_id("card", key)] = None if state is None else dumps(state).decode()
        except BadId:
            continue
        except orjson.JSONEncodeError as error:
            raise Invalid(f"{key[:40]}: can't be kept ({error})") from None
    return states


@atomically
def merge_states(project_id: int, user_id: int, states: Mapping[int, str | None]) -> None:
    """Cards that are not in this project are left out; TooLarge beyond what one person may keep in it."""
    hold_user(user_id)
    given = [(pk, states[pk]) for pk in _held(project_id, states)]
    mine = PanelState.objects.filter(user=user_id)
    mine.filter(card__in=[pk for pk, state in given if state is None]).delete()
    PanelState.objects.bulk_create(
        [PanelState(card_id=pk, user_id=user_id, state=state) for pk, state in given if state],
        update_conflicts=True,
        unique_fields=["card", "user"],
        update_fields=["state"],
    )
    kept = mine.filter(card__project=project_id).aggregate(size=Sum(Length("state")))["size"]
    if (kept or 0) > LONGEST:
        raise TooLarge(
            f"The panel states of a project may take {size(LONGEST)} for each person."
            " Remove those of other cards first."
        )


def _held(project_id: int, card_ids: Iterable[int]) -> list[int]:
    """Those that are there, in the order in which everybody takes them."""
    cards = Card.objects.filter(project=project_id, pk__in=card_ids).order_by("pk").values("pk")
    try:
        statement, parameters = cards.query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement + held_off("cards_card"), parameters)
        return [pk for (pk,) in cursor.fetchall()]


def forget(project_id: int, card_id: int, user_id: int) -> None:
    PanelState.objects.filter(card=card_id, card__project=project_id, user=user_id).delete()
