"""On which host a card goes on: the one that has its worktree, with work in it that is nowhere else."""

from __future__ import annotations

from apps.agents import turns
from apps.agents.models import AgentSession
from apps.cards import worktrees
from apps.runs.models import Worker


def is_free(session: AgentSession) -> bool:
    """Whether it may as well start elsewhere, once its worker has let go of it: nothing was said in it yet.

    But not while its worktree is in hand on that host: another would make it at the same time.
    """
    return session.queue_reason != "worktree_busy" and not turns.any_sent(session)


def bind(session: AgentSession) -> None:
    """A session that has not begun, to the host of its card's worktree; it is not saved here.

    It waits for that host also while no worker of it is there, as at a restart. Only a host that was given up
    and has not come back has lost the card: then whoever has a place makes the worktree again.
    """
    home = worktrees.home_of(session.card)
    if home is None:
        return
    host_id, given_up = home
    if not given_up or Worker.objects.filter(host_id=host_id).exists():
        session.host_id = host_id
