"""The list of cards as bytes, kept by the version of the project, so that most answers need no rows at all.

Two layers: the cards as everybody sees them, one piece of JSON each, and over them a whole body per person
with `unread` laid in. Only the newest version of each is kept, and the least used go first when the bytes
get too many. What is read here is never older than the version it is kept under: that was read before.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from apps.cards.rows import CardRow, is_unread, reads_of, rows_of
from apps.cards.serializers import card_summary
from apps.common.envelope import dumps
from apps.projects.memberships import Membership

V = TypeVar("V")

SHARED_LIMIT = 48_000_000
PERSONAL_LIMIT = 48_000_000
# Entries have a cost beside their bytes.
_OVERHEAD = 500


class Kept(Generic[V]):
    """A bounded store: one value and its version per key, least recently used out first. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._lock = Lock()
        self._items: OrderedDict[tuple[int | None, ...], tuple[str, V, int]] = OrderedDict()

    def get(self, key: tuple[int | None, ...], version: str) -> V | None:
        with self._lock:
            item = self._items.get(key)
            if item is None or item[0] != version:
                return None
            self._items.move_to_end(key)
            return item[1]

    def put(self, key: tuple[int | None, ...], version: str, value: V, size: int) -> None:
        size += _OVERHEAD
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self._used -= old[2]
            if size > self._limit:
                return
            self._items[key] = (version, value, size)
            self._used += size
            while self._used > self._limit:
                _, (_, _, gone) = self._items.popitem(last=False)
                self._used -= gone

    def clear(self) -> None:
        with self._lock:
            self._items.clear()
            self._used = 0


@dataclass(frozen=True)
class Shared:
    """Each piece is a card's JSON without its opening brace."""

    rows: list[CardRow]
    pieces: list[bytes]


_shared: Kept[Shared] = Kept(SHARED_LIMIT)
_personal: Kept[bytes] = Kept(PERSONAL_LIMIT)


def card_list(membership: Membership, user_id: int, board_id: int | None) -> bytes:
    """The whole body. Warm it costs a look-up; cold two queries and some 10 µs a card."""
    project_id = membership.project.pk
    version = f"{membership.at}:{membership.read_version}"
    key = (project_id, board_id, user_id)
    body = _personal.get(key, version)
    if body is None:
        shared = _shared_of(membership, board_id)
        body = _lay_over(shared, reads_of(project_id, user_id), user_id)
        _personal.put(key, version, body, len(body))
    return body


def _shared_of(membership: Membership, board_id: int | None) -> Shared:
    key, version = (membership.project.pk, board_id), str(membership.at)
    shared = _shared.get(key, version)
    if shared is None:
        rows = rows_of(membership.project.pk, board_id=board_id)
        pieces = [dumps(card_summary(row))[1:] for row in rows]
        shared = Shared(rows, pieces)
        # A row costs about as much again as its text.
        _shared.put(key, version, shared, 2 * sum(map(len, pieces)) + 600 * len(rows))
    return shared


def _lay_over(shared: Shared, reads: dict[int, int], user_id: int) -> bytes:
    cards = [
        (
            b'{"unread":true,'
            if is_unread(row, read_seq=reads.get(row.id, 0), user_id=user_id)
            else b'{"unread":false,'
        )
        + piece
        for row, piece in zip(shared.rows, shared.pieces, strict=True)
    ]
    return b'{"data":[' + b",".join(cards) + b"]}"


def forget_all() -> None:
    """For tests, which begin again with the same ids."""
    _shared.clear()
    _personal.clear()
