"""A card's way over its board: its own steps where it has some, else all columns but archives (K19)."""

from __future__ import annotations

from apps.boards.models import Column, ColumnType
from apps.cards.models import Card, PipelineStep
from apps.cards.rows import Step
from apps.cards.selectors import first_active, first_column


def own_steps(card_id: int) -> list[Step]:
    steps = PipelineStep.objects.filter(card_id=card_id).select_related("column")
    return [Step(each.column, each.prompt) for each in steps.order_by("position", "pk")]


def steps_of(card: Card) -> list[Step]:
    own = own_steps(card.pk)
    if own:
        return own
    columns = Column.objects.filter(board__columns=card.column_id)
    shown = columns.exclude(column_type=ColumnType.ARCHIVE).order_by("position", "pk")
    return [Step(column, None) for column in shown]


def next_column(card: Card) -> Column | None:
    """Where a card goes when its step is done: its next active step, else the first done column.

    One that stands outside of its own pipeline follows the order of its board.
    """
    here = card.column
    own = [step.column for step in own_steps(card.pk)]
    places = [column.pk for column in own]
    if here.pk in places:
        later = own[places.index(here.pk) + 1 :]
    else:
        later = list(
            Column.objects.filter(
                board_id=here.board_id,
                column_type=ColumnType.ACTIVE,
                position__gt=here.position,
            ).order_by("position", "pk")[:1]
        )
    onward = _first_active_of(later)
    return onward or first_column(here.board_id, ColumnType.DONE)


def starting_column(card: Card) -> Column:
    """Where the work on a card begins that waits in a backlog; Conflict where nothing is active."""
    here = card.column
    own = [step.column for step in own_steps(card.pk) if step.column.board_id == here.board_id]
    return _first_active_of(own) or first_active(here.board_id)


def instruction_of(card: Card) -> str | None:
    """What to do in the column where the card stands."""
    own = PipelineStep.objects.filter(card_id=card.pk, column_id=card.column_id)
    prompt = own.values_list("prompt", flat=True).first()
    return prompt or card.column.prompt


def _first_active_of(columns: list[Column]) -> Column | None:
    return next((each for each in columns if each.column_type == ColumnType.ACTIVE), None)
