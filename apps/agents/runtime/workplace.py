"""Where the agent works: git makes it ready before the first turn, and keeps what a turn left there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from django.conf import settings

from apps.agents import turns
from apps.agents.models import AgentMessage, AgentSession
from apps.agents.runtime import setting
from apps.agents.runtime.leaving import Cancelled, Interrupted, or_event
from apps.agents.runtime.setting import Setting
from apps.agents.runtime.transcript import Transcript
from apps.cards import auto_commit, worktrees
from apps.runs import occupancy
from apps.runs.kinds import Claim, Handle, Surroundings

T = TypeVar("T")
GivenUp = Callable[[], bool]

# Tenths of a second in which git and its thread are waited for when a run is left.
LEAVES_WITHIN = 10


async def prepared(handle: Handle, around: Surroundings, session: AgentSession) -> worktrees.Place:
    """Left early, it ends git: a large checkout takes minutes, and its row says that it is to be made again.

    The thread can't be stopped. It holds the card's lock, so no other run meets it in the same directory.
    """
    return await _by_git(
        handle, around, lambda given_up: setting.prepare(session, handle.claim, given_up)
    )


async def alone(handle: Handle, around: Surroundings, known: Setting, path: Path) -> None:
    """In the project's own directory: no other agent is there, also none whose card was deleted."""
    if not worktrees.in_place(known.session.card.project):
        return
    place, claim = occupancy.Place(settings.DATA_DIR, path), handle.claim
    try:
        before = place.left_by()
        left = await or_event(handle, around.sweep(before)) if before else []
        if left:
            # The note stays as it is: whoever comes next looks again.
            raise occupancy.Occupied(path)
        place.take(claim, swept=before)
    except occupancy.Occupied:
        raise setting.Busy("path_in_use") from None
    handle.give_back = partial(place.leave, claim)


async def commit(
    handle: Handle,
    around: Surroundings,
    known: Setting,
    transcript: Transcript,
    cwd: Path,
    turn_id: int,
) -> None:
    """Before the turn's end is recorded. After a crash between the two the turn is taken up again, and so
    this comes again at its end.
    """
    claim, card = handle.claim, known.session.card
    if not auto_commit.is_wanted(card.project):
        return

    def act(given_up: GivenUp) -> str | None:
        return auto_commit.after_turn(
            card,
            cwd,
            session=claim.wire_id,
            turn_id=turn_id,
            environment=setting.git_environment(known, claim),
            marker=claim.marker,
            given_up=given_up,
        )

    said = await _by_git(handle, around, act)
    if said is not None:
        # What git says may quote what a filter printed.
        transcript.say(AgentMessage.Role.SYSTEM, "status", transcript.secrets.mask(said))
        await transcript.feed.flushed()


async def _by_git(handle: Handle, around: Surroundings, act: Callable[[GivenUp], T]) -> T:
    """Run what starts git in a thread; once nobody waits for it any more it is told, and starts no more."""
    left = threading.Event()
    claim = handle.claim

    def given_up() -> bool:
        # A worker that was frozen goes on here before its loop has noticed who has the session by now.
        return left.is_set() or not _is_ours(claim)

    work = asyncio.ensure_future(around.disk(lambda: act(given_up)))
    try:
        return await or_event(handle, asyncio.shield(work))
    except (Cancelled, Interrupted):
        left.set()
        for _ in range(LEAVES_WITHIN):
            await around.sweep(claim)
            await asyncio.wait({work}, timeout=0.1)
            if work.done():
                break
        # Whatever it still has to say, nobody asks for any more.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def _is_ours(claim: Claim) -> bool:
    try:
        turns.still_owned(claim)
    except turns.NotOurs:
        return False
    return True
