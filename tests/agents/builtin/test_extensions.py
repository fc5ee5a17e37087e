"""Tools of MCP servers, and room in the model's context."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acp import schema
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from apps.agents.builtin.memory import forget_results
from tests.agents.builtin.conftest import FAKES, Agent, gone, until

pytestmark = pytest.mark.process
in_module_loop = pytest.mark.asyncio(loop_scope="module")
SERVER = str(FAKES / "mcp_server.py")


@pytest.fixture
def over_http() -> Iterator[Any]:
    command = [sys.executable, SERVER, "--http"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield schema.HttpMcpServer(
            type="http",
            name="fake",
            url=process.stdout.readline().strip(),
            headers=[schema.HttpHeader(name="Authorization", value="Bearer token")],
        )
        process.kill()


def over_streams() -> Any:
    return schema.McpServerStdio(name="fake", command=sys.executable, args=[SERVER], env=[])


async def shouting(agent: Agent, worktree: Path, server: Any) -> str:
    opened = await agent.connection.new_session(cwd=str(worktree), mcp_servers=[server])
    answer = await agent.prompt(opened.session_id, "[mcp] call it")
    assert answer.stop_reason == "end_turn"
    return opened.session_id


@in_module_loop
async def test_a_tool_of_a_server_is_called_without_seeing_the_key(
    agent: Agent, worktree: Path
) -> None:
    session = await shouting(agent, worktree, over_streams())

    [call] = agent.person.of(session, schema.ToolCallStart)
    [end] = agent.person.of(session, schema.ToolCallProgress)
    assert call.title == "fake: shout"
    assert (end.status, end.raw_output) == ("completed", "HELLO key=None")

    import psutil

    children = psutil.Process(agent.process.pid).children()
    [server] = [child.pid for child in children if SERVER in child.cmdline()]
    await agent.connection.close_session(session_id=session)
    await until(lambda: gone(server))


@in_module_loop
async def test_a_server_may_be_reached_over_http(
    agent: Agent, worktree: Path, over_http: Any
) -> None:
    session = await shouting(agent, worktree, over_http)

    [end] = agent.person.of(session, schema.ToolCallProgress)
    assert end.raw_output.startswith("HELLO")


@in_module_loop
async def test_a_server_that_does_not_start_is_mentioned_and_done_without(
    agent: Agent, worktree: Path
) -> None:
    server = schema.McpServerStdio(name="fake", command="/no/such/program", args=[], env=[])

    session = await shouting(agent, worktree, server)

    [thought] = agent.person.of(session, schema.AgentThoughtChunk)
    assert "MCP server fake cannot be used" in thought.content.text
    [end] = agent.person.of(session, schema.ToolCallProgress)
    assert end.status == "failed"


@in_module_loop
async def test_compacting_puts_a_summary_in_the_place_of_the_history(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree)
    await until(lambda: agent.person.of(session, schema.AvailableCommandsUpdate))
    await agent.prompt(session, "[write] please")

    answer = await agent.prompt(session, "/compact")

    assert answer.stop_reason == "end_turn"
    stored = (agent.home / ".kanban-builtin" / "sessions" / f"{session}.json").read_text()
    assert "Summary of the conversation so far" in stored
    assert "[write]" not in stored.split('"messages"')[1]
    assert (await agent.prompt(session, "[echo] go on")).stop_reason == "end_turn"


def test_old_long_results_are_forgotten_and_the_latest_kept() -> None:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("go")])]
    for number in range(20):
        call = ToolCallPart("read_file", {"path": "x"}, str(number))
        result = ToolReturnPart("read_file", "y" * 1000, str(number))
        messages += [ModelResponse(parts=[call]), ModelRequest(parts=[result])]
    messages.append(ModelResponse(parts=[TextPart("done")]))

    assert forget_results(messages)

    lengths = [
        len(str(part.content))
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
    assert max(lengths[:12]) < 200
    assert lengths[12:] == [1000] * 8
    assert not forget_results(messages)
    assert forget_results(messages, in_need=True)
