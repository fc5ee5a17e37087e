"""Waiting for work, and for what ends it early: a person, the worker's stop, the loss of the run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, TypeVar

from apps.agents.runtime.agent import CANCEL_GRACE_S, Agent
from apps.agents.runtime.failures import Failed
from apps.runs.kinds import Handle

T = TypeVar("T")


class Interrupted(Exception):
    """The worker stops, or somebody else owns the run now: end the processes, write nothing final."""


class Cancelled(Exception):
    """Somebody asked for the session's end."""


class Parked(Exception):
    """The session waits for a person and needs no process meanwhile; its row says all."""


class SendNow(Exception):
    """The turn is to end at once, but the agent didn't: its process goes, the session goes on."""


async def or_event(
    handle: Handle,
    awaitable: Awaitable[T],
    agent: Agent | None = None,
    watch: asyncio.Task[None] | None = None,
) -> T:
    """Wait for the work, or for what ends it: cancel, the worker's stop, or the loss of the run.

    In a turn (with an agent) also for a person who wants the turn to end, and for the end of the patience
    with people who don't answer. A turn that is to end has a second to do so by itself: its last words are
    stored then.
    """
    work = asyncio.ensure_future(awaitable)
    reasons: list[tuple[asyncio.Event, type[Exception]]] = [
        (handle.lost, Interrupted),
        (handle.cancel, Cancelled),
        (handle.stop, Interrupted),
    ]
    if agent is not None:
        reasons += [(agent.people.next, SendNow), (agent.people.parked, Parked)]
    events = {asyncio.ensure_future(event.wait()): error for event, error in reasons}
    waits: set[asyncio.Future[Any]] = {work, *events, *([watch] if watch else [])}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        reason = next((error for task, error in events.items() if task.done()), None)
        if reason is None:
            assert watch is not None
            watch.result()
            reason = Interrupted
        if agent is not None and reason in (Cancelled, SendNow):
            await agent.cancel()
            with contextlib.suppress(TimeoutError, Failed):
                answer = await asyncio.wait_for(asyncio.shield(work), CANCEL_GRACE_S)
                if reason is SendNow:
                    return answer
        raise reason
    finally:
        for task in (work, *events):
            task.cancel()
        await asyncio.gather(work, *events, return_exceptions=True)
