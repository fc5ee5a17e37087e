"""On which host a card goes on: the one that has its worktree, with work in it that is nowhere else."""

from __future__ import annotations

from apps.agents.models import AgentSession
from apps.cards import worktrees
from apps.runs.models import Worker


def bind(session: AgentSession) -> None:
    """Before a card's next session is queued; it is not saved here.

    It waits for that host also while no worker of it is there, as at a restart. Only a host that was given up
    and has not come back has lost the card: then whoever has a place makes the worktree again.
    """
    home = worktrees.home_of(session.card)
    if home is None:
        return
    host_id, given_up = home
    if not given_up or Worker.objects.filter(host_id=host_id).exists():
        session.host_id = host_id
