"""Cards as lists and events show them: one statement for one card, a board or a whole project.

Written out, and read without the ORM, because it is asked for by every list, every change and every event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from apps.boards.models import Column


class CardRow(NamedTuple):
    """Times are UTC, with or without saying so. `blockers` are ids, comma separated."""

    id: int
    project_id: int
    board_id: int
    column_id: int
    position: int
    title: str
    labels: str
    auto_mode: bool
    pending_approval: bool
    permission_mode: str | None
    credential_id: int | None
    deferred_code: str | None
    deferred_message: str | None
    agent_status: str | None
    branch: str | None
    external_id: str | None
    completed_at: datetime | None
    created_by: int | None
    created_at: datetime
    updated_at: datetime
    blockers: str | None
    noted_seq: int
    noted_by: int | None


_BLOCKERS = {
    "sqlite": "group_concat(d.blocker_id)",
    "postgresql": "string_agg(d.blocker_id::text, ',')",
}

_SELECT = """
    SELECT c.id, c.project_id, col.board_id, c.column_id, c.position, c.title, c.labels,
           c.auto_mode, c.pending_approval, c.permission_mode, c.credential_id,
           c.deferred_code, c.deferred_message, c.agent_status, c.branch, c.external_id,
           c.completed_at, c.created_by_id, c.created_at, c.updated_at,
           (SELECT {blockers} FROM cards_dependency d WHERE d.card_id = c.id),
           c.noted_seq, c.noted_by{more}
    FROM cards_card c
    JOIN boards_column col ON col.id = c.column_id
"""


def _select(more: str = "") -> str:
    return _SELECT.format(blockers=_BLOCKERS[connection.vendor], more=more)


class CardDetailRow(NamedTuple):
    row: CardRow
    prompt: str
    column_name: str
    # How far the person who asks has read it.
    read_seq: int
    attention: str | None


class Step(NamedTuple):
    """A column on a card's way. `prompt` is the card's own for it; None is the column's."""

    column: Column
    prompt: str | None

    @property
    def instruction(self) -> str | None:
        return self.prompt or self.column.prompt


def row_of(card_id: int) -> CardDetailRow:
    """The card as it is in this transaction, read by nobody; it must exist."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_select(', c.prompt, col.name, 0, c.attention')} WHERE c.id = %s", [card_id]
        )
        return _detail(cursor.fetchone())


def _detail(found: Sequence[Any]) -> CardDetailRow:
    *values, prompt, column_name, read_seq, attention = found
    return CardDetailRow(CardRow._make(values), prompt, column_name, read_seq or 0, attention)


_READ = """, c.prompt, col.name,
    (SELECT r.seq FROM cards_cardread r WHERE r.card_id = c.id AND r.user_id = %s),
    c.attention"""


def detail_row(card_id: int, *, project_id: int, user_id: int) -> CardDetailRow | None:
    """None unless the card is in that project."""
    return detail_rows([card_id], project_id=project_id, user_id=user_id).get(card_id)


def detail_rows(
    card_ids: Sequence[int], *, project_id: int, user_id: int
) -> dict[int, CardDetailRow]:
    """Those of the cards that are in that project, by id; at least one is asked for."""
    found = unscoped_detail_rows(card_ids, user_id=user_id)
    return {pk: each for pk, each in found.items() if each.row.project_id == project_id}


def unscoped_detail_rows(card_ids: Sequence[int], *, user_id: int) -> dict[int, CardDetailRow]:
    """For who has found out already that this person reaches them; at least one is asked for."""
    marks = ", ".join(["%s"] * len(card_ids))
    with connection.cursor() as cursor:
        cursor.execute(f"{_select(_READ)} WHERE c.id IN ({marks})", [user_id, *card_ids])
        found = map(_detail, cursor.fetchall())
        return {each.row.id: each for each in found}


def rows_of(project_id: int, *, board_id: int | None = None) -> list[CardRow]:
    """By board, column and position."""
    where, parameters = "c.project_id = %s", [project_id]
    if board_id is not None:
        where += " AND col.board_id = %s"
        parameters.append(board_id)
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_select()} JOIN boards_board b ON b.id = col.board_id WHERE {where}"
            " ORDER BY b.position, b.id, col.position, col.id, c.position, c.id",
            parameters,
        )
        return [CardRow._make(row) for row in cursor.fetchall()]


def reads_of(project_id: int, user_id: int) -> dict[int, int]:
    """card id → how far this person has read it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.card_id, r.seq FROM cards_cardread r JOIN cards_card c ON c.id = r.card_id"
            " WHERE c.project_id = %s AND r.user_id = %s",
            [project_id, user_id],
        )
        return dict(cursor.fetchall())


def is_unread(row: CardRow, *, read_seq: int, user_id: int) -> bool:
    """Whether something noteworthy happened to it, by somebody else, since this person looked."""
    return row.noted_seq > read_seq and row.noted_by != user_id
