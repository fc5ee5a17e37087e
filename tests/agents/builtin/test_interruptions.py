"""Cancelling, failing providers, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import acp
import pytest
from acp import schema

from tests.agents.builtin.conftest import Agent, StartAgent, gone, until

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]


async def cancelled(agent: Agent, session: str, turn: asyncio.Task[schema.PromptResponse]) -> float:
    """Cancel a turn; the seconds it took."""
    began = time.monotonic()
    await agent.connection.cancel(session_id=session)
    answer = await turn
    assert answer.stop_reason == "cancelled"
    return time.monotonic() - began


async def test_cancelling_stops_the_stream_and_keeps_what_was_said(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree)
    turn = asyncio.create_task(agent.prompt(session, "[slow] count"))
    await until(lambda: agent.person.said(session))

    assert await cancelled(agent, session, turn) < 1

    answer = await agent.prompt(session, "[echo] go on")
    assert answer.stop_reason == "end_turn"


async def test_cancelling_kills_a_command_with_all_it_started(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)
    turn = asyncio.create_task(agent.prompt(session, "[longbash] go"))
    pid = int(await until(lambda: text_of(worktree / "pid.txt")))
    children = await until(lambda: processes_of(pid))

    assert await cancelled(agent, session, turn) < 1

    await until(lambda: all(gone(process) for process in {pid, *children}))
    end = agent.person.of(session, schema.ToolCallProgress)[-1]
    assert end.status == "failed"
    answer = await agent.prompt(session, "[echo] go on")
    assert answer.stop_reason == "end_turn"


async def test_cancelling_withdraws_an_open_permission_request(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree, "ask")
    turn = asyncio.create_task(agent.prompt(session, "[bash] run"))
    await until(agent.person.was_asked.is_set)

    assert await cancelled(agent, session, turn) < 1

    assert not (worktree / "ran.txt").exists()
    assert agent.person.of(session, schema.ToolCallProgress)[-1].status == "failed"


async def test_a_second_prompt_is_refused_while_one_runs(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)
    turn = asyncio.create_task(agent.prompt(session, "[slow] count"))
    await until(lambda: agent.person.said(session))

    error = await agent.failure(session, "[echo] too early")

    assert error.code == -32600
    assert error.data["errorKind"] == "busy"
    await cancelled(agent, session, turn)


async def test_failures_of_the_provider_are_told_apart(agent: Agent, tmp_path: Path) -> None:
    async def failing(prompt: str) -> tuple[int, str, int | None]:
        error = await agent.failure(await agent.session(tmp_path), prompt)
        assert error.data["message"] == str(error)
        return error.code, error.data["errorKind"], error.data["status"]

    found = await asyncio.gather(*map(failing, ["[401]", "[429]", "[529]", "[cut]"]))

    assert found == [
        (-32000, "authentication", 401),
        (-32603, "rate_limit", 429),
        (-32603, "server_error", 529),
        (-32603, "connection", None),
    ]


async def test_the_wait_that_the_provider_asked_for_is_reported(
    agent: Agent, worktree: Path
) -> None:
    error = await agent.failure(await agent.session(worktree), "[429] again")

    assert error.data["retryAfter"] == 1
    assert "rate limited by the mock" in str(error)


async def test_a_stream_that_breaks_again_and_again_is_shown_once(
    agent: Agent, worktree: Path
) -> None:
    session = await agent.session(worktree)

    await agent.failure(session, "[cut] me")

    said = agent.person.said(session)
    assert said
    assert "this stream is cut before it ends".startswith(said[:30])
    assert said.count("this stream") == 1


async def test_one_refusal_for_the_rate_is_waited_out(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)

    answer = await agent.prompt(session, "[429once] please")

    assert answer.stop_reason == "end_turn"
    assert agent.person.said(session) == "Recovered after one 429."


async def test_a_killed_agent_goes_on_where_it_was(start_agent: StartAgent, worktree: Path) -> None:
    first = await start_agent()
    await first.initialize()
    session = await first.session(worktree, "ask")
    await first.connection.set_session_mode(session_id=session, mode_id="unattended")
    await first.prompt(session, "[write] please")
    turn = asyncio.create_task(first.prompt(session, "[longbash] go"))
    pid = int(await until(lambda: text_of(worktree / "pid.txt")))
    first.process.kill()
    with pytest.raises(ConnectionError):
        await turn
    await until(lambda: gone(pid))

    second = await start_agent()
    await second.initialize()
    await second.connection.load_session(cwd=str(worktree), session_id=session, mcp_servers=[])

    person = second.person
    prompts = [chunk.content.text for chunk in person.of(session, schema.UserMessageChunk)]
    assert prompts == ["[write] please", "[longbash] go"]
    assert person.said(session).startswith("I will write the file now.Done: hello.txt is written.")
    ends = person.of(session, schema.ToolCallProgress)
    assert [end.status for end in ends] == ["completed", "failed"]
    assert "stopped before" in ends[-1].raw_output
    answer = await second.prompt(session, "[echo] again")
    assert answer.stop_reason == "end_turn"
    assert second.person.said(session).endswith("Echo: this is the follow-up answer.")


async def test_resuming_repeats_nothing_and_the_list_names_the_session(
    start_agent: StartAgent, worktree: Path
) -> None:
    first = await start_agent()
    await first.initialize()
    session = await first.session(worktree, "ask")
    await first.prompt(session, "[echo] the first words")

    second = await start_agent()
    await second.initialize()
    resumed = await second.connection.resume_session(
        session_id=session, cwd=str(worktree), mcp_servers=[]
    )
    listed = await second.connection.list_sessions(cwd=str(worktree))

    assert resumed.modes is not None
    assert resumed.modes.current_mode_id == "ask"
    assert second.person.updates == []
    [info] = listed.sessions
    assert (info.session_id, info.title) == (session, "[echo] the first words")
    assert (await second.prompt(session, "[echo] more")).stop_reason == "end_turn"


@pytest.mark.parametrize("unknown", ["0" * 32, "../../etc/passwd", ""])
async def test_an_unknown_session_is_not_found(agent: Agent, worktree: Path, unknown: str) -> None:
    with pytest.raises(acp.RequestError) as caught:
        await agent.connection.load_session(cwd=str(worktree), session_id=unknown, mcp_servers=[])

    assert caught.value.code == -32002


async def test_a_damaged_session_file_is_reported(agent: Agent, worktree: Path) -> None:
    session = await agent.session(worktree)
    await agent.connection.close_session(session_id=session)
    path = agent.home / ".kanban-builtin" / "sessions" / f"{session}.json"
    assert json.loads(path.read_text())["id"] == session
    path.write_text("{")

    with pytest.raises(acp.RequestError) as caught:
        await agent.connection.resume_session(session_id=session, cwd=str(worktree), mcp_servers=[])

    assert caught.value.code == -32603
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("farewell", ["terminate", "hang up"])
async def test_the_end_of_the_agent_is_the_end_of_its_commands(
    start_agent: StartAgent, worktree: Path, farewell: str
) -> None:
    agent = await start_agent()
    await agent.initialize()
    session = await agent.session(worktree)
    turn = asyncio.create_task(agent.prompt(session, "[longbash] go"))
    pid = int(await until(lambda: text_of(worktree / "pid.txt")))
    children = await until(lambda: processes_of(pid))

    if farewell == "terminate":
        agent.process.send_signal(signal.SIGTERM)
    else:
        assert agent.process.stdin is not None
        agent.process.stdin.close()

    await until(lambda: all(gone(process) for process in {pid, *children}))
    assert await asyncio.wait_for(agent.process.wait(), 5) == 0
    await asyncio.wait([turn])
    assert turn.exception() is not None


def text_of(path: Path) -> str | None:
    return path.read_text().strip() or None if path.exists() else None


def processes_of(pid: int) -> set[int]:
    """The sleeping grandchild and whatever else belongs to the command, once it is there."""
    import psutil

    found = {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return found if len(found) > 1 else set()
