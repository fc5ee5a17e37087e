"""Cards go, and what they had on disk after them: the rows say so here, the worker's loop does it."""

from __future__ import annotations

from django.utils import timezone

from apps.boards.models import Board, Column
from apps.cards import deleting, patches, worktrees
from apps.cards.events import CardDeleted, CardUpdated
from apps.cards.models import Card, Dependency, Worktree
from apps.cards.serializers import is_live
from apps.cards.services.blocking import reconsider_blocked
from apps.cards.services.standing import close_gaps, fresh
from apps.common.errors import Conflict
from apps.events import bus
from apps.projects.models import Project

# Fewer would wait for the disk too often, more would keep everybody else waiting.
AT_ONCE = 50


def delete_card(card: Card, *, force: bool, by: int | None) -> None:
    """Without `force`, Conflict while an agent works on it or its worktree holds work found nowhere else.

    Reads the worktree with git first, outside the transaction; what is written there meanwhile is not lost
    either, because an unforced removal looks again and stays away.
    """
    if not force:
        refuse_while_running(card)
        refuse_to_lose_work(card)
    _delete(card, force=force, by=by)


def refuse_to_lose_work(card: Card) -> None:
    """Asks git, or the host that has the worktree: not inside a transaction."""
    obstacle = worktrees.deletion_obstacle(card)
    if obstacle is not None:
        code, message = obstacle
        raise Conflict(message, code=code)


def refuse_while_running(card: Card) -> None:
    if is_live(card.agent_status):
        raise Conflict(
            "An agent is working on this card. Cancel it first, or delete with force=true.",
            code="agent_running",
        )


@bus.atomically
def _delete(card: Card, *, force: bool, by: int | None) -> None:
    bus.lock(card.project_id)
    card = fresh(card)
    if not force:
        refuse_while_running(card)
    take_out([card], force=force, by=by)


def clean_column(column: Column, *, by: int | None) -> None:
    """Delete all cards that stand in the column, as with `force`; what comes into it meanwhile stays.

    Some at a time, so that others get their turn and browsers see it go on; repeatable when it was cut off.
    """
    cards = Card.objects.filter(column=column).order_by("-position", "-pk")
    card_ids = list(cards.values_list("pk", flat=True))
    for start in range(0, len(card_ids), AT_ONCE):
        _clean(column, card_ids[start : start + AT_ONCE], by=by)


@bus.atomically
def _clean(column: Column, card_ids: list[int], *, by: int | None) -> None:
    bus.lock(column.project_id)
    still_there = Card.objects.select_related("column").filter(column=column, pk__in=card_ids)
    cards = list(still_there.order_by("-position", "-pk"))
    if cards:
        take_out(cards, force=True, by=by)


def take_out(cards: list[Card], *, force: bool, by: int | None) -> None:
    """Cards of one project, as they are now, the stream locked: each with an event of its own."""
    card_ids = sorted(card.pk for card in cards)
    deleting.announce(card_ids)
    saved = _remove_worktrees(card_ids, forced=force)
    waiting = _unchain(card_ids)
    Card.objects.filter(pk__in=card_ids).delete()
    first_gaps: dict[int, int] = {}
    for card in sorted(cards, key=lambda card: (card.column_id, -card.position)):
        first_gaps[card.column_id] = card.position
    for column_id, position in first_gaps.items():
        close_gaps(column_id, position)
    for card in cards:
        event = CardDeleted(
            project_id=card.project_id,
            card_id=card.pk,
            column_id=card.column_id,
            board_id=card.column.board_id,
            patch=saved.get(card.pk),
        )
        bus.publish(event, by=by)
    if waiting:
        _tell_unchained(cards[0].project_id, waiting, by=by)


def release_board(board: Board) -> list[str]:
    """Before a board goes: its cards' agents stop, their worktrees are removed, nobody waits for them.

    The names of the patches that hold what the worktrees alone had.
    """
    card_ids = list(
        Card.objects.filter(column__board=board).order_by("pk").values_list("pk", flat=True)
    )
    deleting.announce(card_ids)
    saved = _remove_worktrees(card_ids, forced=True)
    _tell_unchained(board.project_id, _unchain(card_ids), by=None)
    return [saved[card_id] for card_id in sorted(saved)]


def release_project(project: Project) -> list[str]:
    """As `release_board`, of the whole project."""
    deleting.announce(
        list(Card.objects.filter(project=project).order_by("pk").values_list("pk", flat=True))
    )
    of_project = Worktree.objects.filter(project_id=project.pk)
    of_project.exclude(state=Worktree.State.REMOVING).update(removing_since=timezone.now())
    of_project.update(state=Worktree.State.REMOVING, forced=True)
    rows = of_project.order_by("card_id").values_list("card_id", "removing_since")
    return [patches.name(card_id, since) for card_id, since in rows if since is not None]


def _remove_worktrees(card_ids: list[int], *, forced: bool) -> dict[int, str]:
    """By card, the patch that saves what only the worktree holds; none where force is not asked for."""
    rows = Worktree.objects.filter(card_id__in=card_ids)
    now = timezone.now()
    removed = list(rows.values_list("card_id", flat=True))
    rows.update(state=Worktree.State.REMOVING, forced=forced, removing_since=now)
    return {card_id: patches.name(card_id, now) for card_id in removed} if forced else {}


def _unchain(card_ids: list[int]) -> list[int]:
    """Let go of those that wait for these cards; the ids of those that stay."""
    chains = Dependency.objects.filter(blocker_id__in=card_ids).exclude(card_id__in=card_ids)
    waiting = sorted(set(chains.values_list("card_id", flat=True)))
    if waiting:
        chains.delete()
    return waiting


def _tell_unchained(project_id: int, card_ids: list[int], *, by: int | None) -> None:
    for card_id in card_ids:
        bus.publish(CardUpdated(project_id=project_id, card_id=card_id), by=by)
    if card_ids:
        reconsider_blocked(card_ids)
