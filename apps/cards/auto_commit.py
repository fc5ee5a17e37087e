"""Committing what a turn of an agent left, where a project wants that (X4)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from apps.cards.models import Card
from apps.cards.worktrees import in_place
from apps.common.ids import public_id
from apps.host import committing, worktrees
from apps.host.errors import HostError
from apps.projects import places
from apps.projects.models import Project

logger = logging.getLogger(__name__)


def is_wanted(project: Project) -> bool:
    """Only for worktrees: in a project's own directory people have changes too."""
    return project.auto_commit and not in_place(project)


def after_turn(
    card: Card,
    worktree: Path,
    *,
    session: str,
    turn_id: int,
    environment: Mapping[str, str],
    marker: str,
    given_up: Callable[[], bool],
) -> str | None:
    """Commit in the card's worktree; a sentence for its transcript, None where nothing had changed.

    Disk work outside any transaction, before the turn's end is recorded, and repeatable: what was committed
    before a crash isn't there to be committed again. `session` is the wire id.
    """
    try:
        if not worktrees.valid(worktree, places.directory(card.project)):
            return (
                "The changes could not be committed: the worktree's git data is missing or damaged."
            )
        commit = committing.commit_all(
            worktree,
            _message(card, session, turn_id),
            environment=environment,
            marker=marker,
            given_up=given_up,
        )
    except (HostError, OSError) as problem:
        # Why is for the transcript, where secrets are masked: git may quote what a filter printed.
        logger.info("turn %d of %s is not committed", turn_id, session)
        return f"The changes could not be committed: {problem}"
    return f"The changes were committed as {commit}." if commit else None


def _message(card: Card, session: str, turn_id: int) -> str:
    """In the card's own words: what an agent says of its work is no title."""
    title = " ".join(card.title.split())
    trailers = {"Card": public_id("card", card.pk), "Session": session, "Turn": turn_id}
    lines = "".join(f"Kanban-{name}: {value}\n" for name, value in trailers.items())
    return f"{title}\n\n{lines}"
