"""Every event carries the card as lists show it, less what depends on who looks.

Whoever keeps a copy of the board applies them in order: `card.created` puts the card at its position,
`card.moved` takes it out of `fromColumnId` and puts it in, `card.deleted` takes it out; the cards behind it
close up or make room.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from apps.boards.models import ColumnType
from apps.cards.models import Card
from apps.cards.rows import CardDetailRow, row_of
from apps.cards.serializers import card_summary
from apps.common.ids import public_id
from apps.events.bus import ProjectEvent


@dataclass(frozen=True, kw_only=True)
class CardCreated(ProjectEvent):
    """`starts` says that it stands in an active column, where its agent begins."""

    type: ClassVar[str] = "card.created"
    card: Card
    by: int | None
    starts: bool

    @cached_property
    def row(self) -> CardDetailRow:
        """As it is when the event is published; listeners may change the card after that."""
        return row_of(self.card.pk)

    def data(self) -> dict[str, Any]:
        return card_summary(self.row.row)


@dataclass(frozen=True, kw_only=True)
class CardUpdated(ProjectEvent):
    type: ClassVar[str] = "card.updated"
    card_id: int

    @cached_property
    def row(self) -> CardDetailRow:
        """As it is when the event is published; listeners may change the card after that."""
        return row_of(self.card_id)

    def data(self) -> dict[str, Any]:
        return card_summary(self.row.row)


@dataclass(frozen=True, kw_only=True)
class CardMoved(ProjectEvent):
    """`entered` is False for a new place in the same column, which neither starts nor stops anything."""

    type: ClassVar[str] = "card.moved"
    card: Card
    from_column_id: int
    from_column_type: str
    entered: bool
    by: int | None
    defer: bool

    @property
    def starts(self) -> bool:
        """It came into an active column, where its agent begins."""
        return self.entered and self.card.column.column_type == ColumnType.ACTIVE

    @property
    def stops(self) -> bool:
        """A message may have taken an agent up again wherever the card stood, so that it has one to stop."""
        return (
            self.entered
            and not self.starts
            and (self.from_column_type == ColumnType.ACTIVE or self.card.agent_status is not None)
        )

    @cached_property
    def row(self) -> CardDetailRow:
        """As it is when the event is published; listeners may change the card after that."""
        return row_of(self.card.pk)

    def data(self) -> dict[str, Any]:
        return {
            **card_summary(self.row.row),
            "fromColumnId": public_id("column", self.from_column_id),
        }


@dataclass(frozen=True, kw_only=True)
class CardDeleted(ProjectEvent):
    """`patch` is where work is saved that only its worktree held, if there was any; None without force."""

    type: ClassVar[str] = "card.deleted"
    card_id: int
    column_id: int
    board_id: int
    patch: str | None

    def data(self) -> dict[str, Any]:
        return {
            "id": public_id("card", self.card_id),
            "columnId": public_id("column", self.column_id),
            "boardId": public_id("board", self.board_id),
            "projectId": public_id("project", self.project_id),
            "patch": self.patch,
        }
