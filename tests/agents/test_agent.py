"""What is kept and shown of an agent's own words, against a real process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apps.agents import waiting
from apps.agents.presets import Preset
from apps.agents.runtime.agent import CANCEL_GRACE_S, MOST_TOKENS, Agent
from apps.agents.runtime.failures import Failed
from apps.agents.runtime.people import People
from apps.agents.runtime.transcript import Transcript
from apps.runs.kinds import Claim, Handle
from apps.runs.masking import Secrets
from apps.runs.outputs import Outputs
from apps.runs.sink import Sink

SECRET = "sk-very-secret-key"
Start = Callable[..., Awaitable[Agent]]


class Outage:
    """Around a run whose database comes back after a while; by then what was asked has been decided."""

    async def database(self, _function: Callable[[], Any]) -> Any:
        await asyncio.sleep(2.5)
        return waiting.Opened(answer={"optionId": "yes", "granted": True})


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    agents: list[Agent] = []
    outputs = Outputs(asyncio.get_running_loop())

    async def start(program: str, *, mode: str = "unattended", **preset: Any) -> Agent:
        feed = Sink().feed(None, 1, 1, lambda: None)  # type: ignore[arg-type]
        transcript = Transcript(feed, Secrets([SECRET]), asyncio.get_running_loop())
        handle = Handle(Claim("session", 1, 1, "host", "worker"))
        agent = await Agent.start(
            Preset(id="fake", name="Fake", command=(sys.executable, "-c", program), **preset),
            cwd=tmp_path,
            environment={"PATH": "/usr/bin:/bin"},
            marker="test",
            feed=feed,
            transcript=transcript,
            people=People(handle, Outage(), transcript, mode),  # type: ignore[arg-type]
            outputs=outputs,
        )
        agents.append(agent)
        return agent

    yield start
    for agent in agents:
        await agent.close()


async def test_a_secret_in_an_rpc_error_is_masked_and_the_message_storable(start: Start) -> None:
    agent = await start(
        "import json, sys\n"
        "id = json.loads(sys.stdin.readline())['id']\n"
        f"error = {{'code': -32603, 'message': 'bad key {SECRET} \\0'}}\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': id, 'error': error}), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with pytest.raises(Failed) as raised:
        await agent.initialize()
    assert SECRET not in raised.value.message
    assert "bad key ****" in raised.value.message
    assert "\0" not in raised.value.message


async def test_an_agent_that_reads_nothing_does_not_hold_up_its_cancel(start: Start) -> None:
    agent = await start("import time; time.sleep(30)")
    prompt = asyncio.ensure_future(agent.prompt("x" * 4_000_000))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    await agent.cancel()
    assert time.monotonic() - started < CANCEL_GRACE_S + 1
    prompt.cancel()
    await asyncio.gather(prompt, return_exceptions=True)


async def test_what_does_not_fit_its_column_is_cut(start: Start) -> None:
    agent = await start("import sys; sys.stdin.read()")
    usage = {"inputTokens": 1 << 70, "outputTokens": -1, "cachedReadTokens": "many"}
    assert agent._checked({"stopReason": "x" * 100, "usage": usage}) == {
        "stopReason": "x" * 40,
        "usage": {"inputTokens": MOST_TOKENS, "outputTokens": 0},
    }


async def test_an_agent_that_asks_while_the_database_is_away_is_not_taken_for_silent(
    start: Start,
) -> None:
    agent = await start(
        "import json, sys\n"
        "prompt = json.loads(sys.stdin.readline())\n"
        "options = [{'optionId': 'yes', 'name': 'Allow', 'kind': 'allow_once'}]\n"
        "asked = {'toolCall': {'toolCallId': 'c', 'title': 'Dig'}, 'options': options}\n"
        "method = 'session/request_permission'\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': asked}), flush=True)\n"
        "outcome = json.loads(sys.stdin.readline())['result']['outcome']\n"
        "result = {'stopReason': outcome['optionId']}\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': prompt['id'], 'result': result}), flush=True)\n"
        "sys.stdin.read()\n",
        mode="ask",
        silence_seconds=0.5,
    )
    assert (await agent.prompt("dig"))["stopReason"] == "yes"
