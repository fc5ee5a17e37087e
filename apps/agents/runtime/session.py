"""One attempt of a session, from its claim to the end of its processes.

Sweep → worktree → process → agent session → turns, until nothing waits. The attempt writes exactly one final
status, or leaves the session `interrupted` when the worker stops or another one has taken it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from apps.agents import attempts, turns, waiting
from apps.agents.models import AgentMessage
from apps.agents.runtime import failures, setting, workplace
from apps.agents.runtime.activity import Activity
from apps.agents.runtime.agent import Agent
from apps.agents.runtime.failures import Failed
from apps.agents.runtime.leaving import Cancelled, Interrupted, Parked, SendNow, or_event
from apps.agents.runtime.lines import AgentLines
from apps.agents.runtime.people import People
from apps.agents.runtime.setting import Deferred, Setting
from apps.agents.runtime.transcript import Transcript
from apps.host import sweeping
from apps.runs.kinds import Claim, Handle, Kind, Surroundings
from apps.runs.masking import Secrets

logger = logging.getLogger(__name__)


async def run_session(kind: Kind, handle: Handle, around: Surroundings) -> None:
    claim = handle.claim
    try:
        await _run(kind, handle, around)
    except Cancelled:
        await _final(around, claim, stop_reason="cancelled", error=None)
    except Deferred as deferred:
        code, message = deferred.code, deferred.message
        with contextlib.suppress(turns.NotOurs):
            await around.database(lambda: attempts.defer(claim, code, message))
    except Failed as failed:
        await _final(
            around,
            claim,
            stop_reason=None,
            error=(failed.code, failed.message),
            retry_after=failed.retry_after,
        )
    except setting.Busy as busy:
        code = busy.code
        with contextlib.suppress(turns.NotOurs):
            await around.database(lambda: attempts.put_off(claim, code))
    except Interrupted:
        if not handle.lost.is_set():
            await around.database(lambda: kind.interrupt(claim))
    except Parked:
        logger.info("%s waits for a person without a process", claim.wire_id)
    except turns.NotOurs:
        handle.lost.set()


async def _final(
    around: Surroundings,
    claim: Claim,
    *,
    stop_reason: str | None,
    error: tuple[str, str] | None,
    retry_after: float | None = None,
) -> None:
    with contextlib.suppress(turns.NotOurs):
        await around.database(
            lambda: attempts.end_turn(
                claim, None, stop_reason=stop_reason, error=error, retry_after=retry_after
            )
        )


async def _run(kind: Kind, handle: Handle, around: Surroundings) -> None:
    claim = handle.claim
    await _room(kind, handle, around)
    known = await _known(handle, around)
    place = await workplace.prepared(handle, around, known.session)
    await workplace.alone(handle, around, known, place.path)
    secrets = Secrets(known.hidden)
    feed = around.sink.feed(AgentLines(), claim.run_id, claim.fence, handle.lost.set)
    activity = Activity(
        project_id=known.session.project_id,
        card_id=known.session.card_id,
        session_id=claim.run_id,
    )
    transcript = Transcript(feed, secrets, asyncio.get_running_loop(), activity)
    if place.notice:
        transcript.say(AgentMessage.Role.SYSTEM, "status", place.notice)
    people = People(handle, around, transcript, known.session.permission_mode)
    environment = setting.environment(known, claim)
    await _last_look(handle, around)
    agent = await Agent.start(
        known.equipment.preset,
        cwd=place.path,
        environment=environment,
        marker=claim.marker,
        feed=feed,
        transcript=transcript,
        people=people,
        outputs=around.outputs,
    )
    try:
        await _talk(handle, around, known, agent, place.path)
    except (Parked, Interrupted):
        transcript.end_turn(cut=True, goes_on=True)
        raise
    finally:
        transcript.end_turn(cut=True)
        activity.close()
        await agent.close()
        await feed.flushed()


async def _known(handle: Handle, around: Surroundings) -> setting.Setting:
    claim = handle.claim
    known = await around.database(lambda: setting.read(claim))
    if known.equipment.credential and known.equipment.credential.ends_soon:
        work = around.disk(lambda: setting.renewed(known, claim))
        known = await or_event(handle, work)
    return known


async def _room(kind: Kind, handle: Handle, around: Surroundings) -> None:
    """Until no process of an earlier attempt is left; nothing is started beside one."""
    claim = handle.claim
    stuck = await around.sweep(claim, below_fence=claim.fence)
    if stuck:
        text = sweeping.stuck_sentence(stuck)
        await around.database(lambda: kind.say(claim, text))
    while stuck:
        await or_event(handle, asyncio.sleep(2))
        stuck = await around.sweep(claim, below_fence=claim.fence)


async def _last_look(handle: Handle, around: Surroundings) -> None:
    """A worker that was frozen while it prepared may have been replaced: it must not start a second agent."""
    claim = handle.claim
    cancel = await around.database(lambda: turns.still_owned(claim))
    if cancel:
        raise Cancelled
    await or_event(handle, asyncio.sleep(0))


async def _talk(
    handle: Handle, around: Surroundings, known: Setting, agent: Agent, cwd: Path
) -> None:
    claim, session = handle.claim, known.session
    await or_event(handle, agent.initialize())
    earlier = session.agent_session_id
    if session.agent_session_preset not in (None, agent.preset.id):
        # Another agent may do anything when it is asked for a conversation that it never had.
        earlier = None
    goes_on = await or_event(handle, agent.open_session(cwd, earlier))
    lost_history = not goes_on and session.agent_session_id is not None
    await around.database(
        lambda: attempts.started(
            claim,
            preset=known.equipment.preset.id,
            pid=agent.process.pid,
            agent_session_id=agent.session_id,
            handover=lost_history,
        )
    )
    mode = agent.preset.modes.get(session.permission_mode)
    if mode:
        await or_event(handle, agent.set_mode(mode))
    handover = lost_history or session.handover_due
    keep = partial(workplace.commit, handle, around, known, agent.transcript, cwd)
    while True:
        try:
            prompt = await around.database(lambda: turns.begin(claim))
        except turns.Over as over:
            if await _ended(around, claim, over.turn_id, "end_turn"):
                continue
            return
        if prompt is None:
            if await _ended(around, claim, None, "end_turn"):
                continue
            return
        text = prompt.text
        if handover:
            handover = False
            text = await around.database(partial(turns.handover_text, session, prompt))
        if not await _turn(handle, around, agent, prompt.turn_id, text, keep):
            return


async def _ended(around: Surroundings, claim: Claim, turn_id: int | None, stop_reason: str) -> bool:
    return await around.database(
        lambda: attempts.end_turn(claim, turn_id, stop_reason=stop_reason, error=None)
    )


async def _turn(
    handle: Handle,
    around: Surroundings,
    agent: Agent,
    turn_id: int,
    text: str,
    keep: Callable[[int], Awaitable[None]],
) -> bool:
    """Send one prompt, store what is said and `keep` what is done; True when another turn follows."""
    claim, people = handle.claim, agent.people
    agent.transcript.begin_turn(turn_id)
    people.next.clear()
    failure: Failed | None = None
    stop_reason: str | None = None
    watch = asyncio.create_task(people.watch())
    try:
        answer = await or_event(handle, agent.prompt(text), agent, watch)
        stop_reason = str(answer.get("stopReason") or "end_turn")
        await _usage(around, claim, agent, answer)
        if agent.transcript.turn_error:
            raise Failed(
                "provider_error",
                f"{agent.preset.name} ended its turn after an error: {agent.transcript.turn_error}."
                " Send a message to try again.",
            )
    except SendNow:
        stop_reason = "cancelled"
        failure = Failed(
            "agent_stopped", f"{agent.preset.name} did not end its turn when asked to."
        )
    except Failed as failed:
        failure = failed
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    # What it still asks belongs to a turn that is over. (A process that is only ended, because nobody answers
    # or the worker stops, must not hear that it was refused: its question stands.)
    people.withdraw()
    agent.transcript.end_turn(
        cut=failure is not None or stop_reason == "cancelled",
        goes_on=failure is not None and failure.code == "agent_died",
    )
    await agent.transcript.feed.flushed()
    if failure is not None:
        await _may_go_on_without(around, claim, agent, turn_id, failure)
    elif stop_reason == "end_turn":
        await keep(turn_id)
    error = (failure.code, failure.message) if failure and stop_reason != "cancelled" else None
    retry_after = failure.retry_after if failure else None
    follows = await around.database(
        lambda: attempts.end_turn(
            claim, turn_id, stop_reason=stop_reason, error=error, retry_after=retry_after
        )
    )
    if follows and failure is not None:
        # The process is gone or in disorder; the next turn needs another one.
        raise Interrupted
    return follows


async def _may_go_on_without(
    around: Surroundings, claim: Claim, agent: Agent, turn_id: int, failure: Failed
) -> None:
    """An agent that died over a question has failed nobody yet: it is started anew with the answer."""
    if failure.code != "agent_died":
        return
    still_open = await around.database(lambda: waiting.left_behind(claim, turn_id))
    if still_open is None:
        return
    agent.transcript.say(
        AgentMessage.Role.SYSTEM,
        "status",
        f"{failure.message.removesuffix(failures.GO_ON)} It is started again with the answer.",
    )
    await agent.transcript.feed.flushed()
    raise Parked if still_open else Interrupted


async def _usage(around: Surroundings, claim: Claim, agent: Agent, answer: dict[str, Any]) -> None:
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}

    def count(name: str) -> int:
        value = usage.get(name)
        return value if isinstance(value, int) and value >= 0 else 0

    cost, agent.transcript.cost_usd = agent.transcript.cost_usd, None
    if usage or cost is not None:
        await around.database(
            lambda: attempts.add_usage(
                claim,
                input_tokens=count("inputTokens"),
                output_tokens=count("outputTokens"),
                cached_tokens=count("cachedReadTokens"),
                cost_usd=cost,
            )
        )
