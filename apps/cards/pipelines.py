"""A card's way over its board: its own steps where it has some, else all columns but archives (K19)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from apps.boards.models import Column, ColumnType
from apps.cards.models import Card, PipelineStep
from apps.cards.rows import Step
from apps.cards.selectors import first_active


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
    return next_columns([card])[card.pk]


def next_columns(cards: Sequence[Card]) -> dict[int, Column | None]:
    """The same for many, by card; two queries."""
    own: dict[int, list[Column]] = defaultdict(list)
    steps = PipelineStep.objects.filter(card__in=cards).select_related("column")
    for step in steps.order_by("position", "pk"):
        own[step.card_id].append(step.column)
    boards: dict[int, list[Column]] = defaultdict(list)
    columns = Column.objects.filter(board__in={card.column.board_id for card in cards})
    for column in columns.order_by("position", "pk"):
        boards[column.board_id].append(column)
    return {card.pk: _next(card, own[card.pk], boards[card.column.board_id]) for card in cards}


def _next(card: Card, own: list[Column], board: list[Column]) -> Column | None:
    here = card.column
    places = [column.pk for column in own]
    if here.pk in places:
        later = own[places.index(here.pk) + 1 :]
    else:
        later = [column for column in board if column.position > here.position]
    onward = _first_active_of(later)
    return onward or next((each for each in board if each.column_type == ColumnType.DONE), None)


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
