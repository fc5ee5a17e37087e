"""A new order of things that stand in a row (C14): the listed ones first, the others behind as they stood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from apps.common.errors import Invalid
from apps.common.ids import public_id

# More than anybody has of anything; what is listed is looked up one by one.
MOST_LISTED = 1_000


class _Placed(Protocol):
    pk: Any
    position: Any


Placed = TypeVar("Placed", bound=_Placed)


def arranged(
    kind: str, in_order: Iterable[Placed], ids: Sequence[int], *, stranger: str
) -> tuple[list[Placed], list[Placed]]:
    """All of them with their new positions, and those whose position is another than before.

    Invalid on what is listed twice, and on a stranger; `stranger` is the sentence for one, up to its id.
    """
    known = {each.pk: each for each in in_order}
    seen: set[int] = set()
    for each in ids:
        if each not in known:
            raise Invalid(f"ids: {stranger} {public_id(kind, each)}.")
        if each in seen:
            raise Invalid(f"ids: {public_id(kind, each)} is listed twice.")
        seen.add(each)
    ordered = [known[pk] for pk in dict.fromkeys([*ids, *known])]
    changed = []
    for position, thing in enumerate(ordered):
        if thing.position != position:
            thing.position = position
            changed.append(thing)
    return ordered, changed
