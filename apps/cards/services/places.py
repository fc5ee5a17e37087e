"""The places of cards in columns while many of them move: kept here, written once.

A card that goes shifts all that stand behind it. One after the other, 200 of a column of 2,000 cards are
400,000 rows.
"""

from __future__ import annotations

import json

from django.db import connection

from apps.cards.models import Card
from apps.cards.services.standing import execute


class Places:
    """Of one transaction, the stream locked. Until `write` the rows of those that were shifted lag behind;
    a card that moves is written by its move, at the place that it has then."""

    def __init__(self) -> None:
        self._columns: dict[int, list[int]] = {}
        self._written: dict[int, int] = {}

    def in_order(self, column_id: int) -> list[int]:
        """Its cards as they stand; not to be changed."""
        if column_id not in self._columns:
            rows = Card.objects.filter(column_id=column_id).order_by("position", "pk")
            known = dict(rows.values_list("pk", "position"))
            self._written |= known
            self._columns[column_id] = list(known)
        return self._columns[column_id]

    def move(self, card_id: int, from_column: int, to_column: int, position: int) -> None:
        """Before the card's own row is written."""
        source, target = self.in_order(from_column), self.in_order(to_column)
        source.remove(card_id)
        target.insert(position, card_id)
        self._written[card_id] = position

    def write(self) -> None:
        shifted = [
            (card_id, place)
            for order in self._columns.values()
            for place, card_id in enumerate(order)
            if self._written[card_id] != place
        ]
        if not shifted:
            return
        self._written.update(shifted)
        if connection.vendor == "postgresql":
            given = "unnest(%s::bigint[], %s::bigint[]) AS given (card, place)"
            parameters: list[object] = [list(column) for column in zip(*shifted, strict=True)]
        else:
            given = (
                "(SELECT json_extract(value, '$[0]') AS card, json_extract(value, '$[1]') AS place"
                " FROM json_each(%s)) AS given"
            )
            parameters = [json.dumps(shifted)]
        execute(
            f"UPDATE cards_card SET position = given.place FROM {given} WHERE id = given.card",
            parameters,
        )
