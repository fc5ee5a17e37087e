"""Cards that were deferred for a reason that people have changed or deleted since: they say what is true now.

None of them starts by itself (X6): whoever mended it activates the cards that are to go on.
"""

from __future__ import annotations

from collections.abc import Iterable

from apps.agents import gate
from apps.boards.models import ColumnType
from apps.cards import gate as cards_gate
from apps.cards import services as cards
from apps.cards.models import Card
from apps.events import bus
from apps.projects.models import Project

READY = (
    cards_gate.DEFERRED,
    "What kept its agent from starting has been changed; activate the card to start it.",
)


def cards_of(project: Project) -> None:
    deferred = Card.objects.select_related("column").filter(
        project=project, deferred_code__isnull=False, column__column_type=ColumnType.ACTIVE
    )
    # What the card or its repository knows doesn't change with the project.
    unchanged = (cards_gate.DEFERRED, cards_gate.BLOCKED, gate.NO_COMMITS.code)
    for card in deferred.exclude(deferred_code__in=unchanged).order_by("pk"):
        card.project = project
        _reconsider(card)


def cards_of_all(project_ids: Iterable[int]) -> None:
    """Locks the projects' streams, ids ascending."""
    ids = sorted(project_ids)
    for project_id in ids:
        bus.lock(project_id)
    for project in Project.objects.select_related("organization").filter(pk__in=ids).order_by("pk"):
        cards_of(project)


def one(card: Card) -> None:
    if card.deferred_code not in (None, cards_gate.DEFERRED, gate.NO_COMMITS.code):
        _reconsider(card)


def _reconsider(card: Card) -> None:
    found = gate.examine(card)
    code, message = (found.code, found.message) if isinstance(found, gate.Obstacle) else READY
    if (code, message) != (card.deferred_code, card.deferred_message):
        cards.defer_card(card, code, message)
