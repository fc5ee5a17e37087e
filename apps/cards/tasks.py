from __future__ import annotations

from celery import shared_task

from apps.cards import elsewhere, worktrees


@shared_task(name="cards.look", ignore_result=True)
def look(what: str, card_id: int, reply: str) -> None:
    """Look at a worktree of this host for another one (see `elsewhere`)."""
    elsewhere.reply(reply, worktrees.look(what, card_id))
