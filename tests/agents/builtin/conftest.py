"""The agent as a process of its own, driven by the protocol's client library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import acp
import psutil
import pytest
import pytest_asyncio
from acp import schema

ROOT = Path(__file__).resolve().parents[3]
FAKES = ROOT / "tests" / "fakes"
PROGRAM = ROOT / "apps" / "agents" / "builtin" / "__main__.py"


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """Address of the scripted model provider."""
    command = [
        *(sys.executable, str(FAKES / "mock_provider.py")),
        *("--scenario", str(FAKES / "scenario.json"), "--port", "0"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.kill()


class Person:
    """Stands for the board: keeps what it is told, answers what it is asked with `choose`."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, schema.ToolCallUpdate, list[schema.PermissionOption]]] = []
        self.questions: list[tuple[str, Any]] = []
        self.choose: Callable[[list[schema.PermissionOption]], str | None] | None = None
        self.answers: dict[str, Any] | None = None
        self.was_asked = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        pass

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append((session_id, update))

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> schema.RequestPermissionResponse:
        self.asked.append((session_id, tool_call, options))
        self.was_asked.set()
        if self.choose is None:
            await asyncio.Event().wait()
            raise AssertionError
        chosen = self.choose(options)
        if chosen is None:
            outcome: Any = schema.DeniedOutcome(outcome="cancelled")
        else:
            outcome = schema.AllowedOutcome(outcome="selected", option_id=chosen)
        return schema.RequestPermissionResponse(outcome=outcome)

    async def create_elicitation(self, message: str, mode: Any, **_: Any) -> Any:
        self.questions.append((message, mode))
        if self.answers is None:
            return schema.DeclineElicitationResponse(action="decline")
        return schema.AcceptElicitationResponse(action="accept", content=self.answers)

    def of(self, session_id: str, kind: type) -> list[Any]:
        return [
            update for owner, update in self.updates if owner == session_id and type(update) is kind
        ]

    def said(self, session_id: str) -> str:
        chunks = self.of(session_id, schema.AgentMessageChunk)
        return "".join(chunk.content.text for chunk in chunks)


class Agent:
    """A running agent and the person it works for."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path) -> None:
        self.process = process
        self.home = home
        self.person = Person()
        self.connection = acp.connect_to_agent(
            self.person, process.stdin, process.stdout, use_unstable_protocol=True
        )

    async def initialize(self, *, questions: bool = True) -> schema.InitializeResponse:
        form = schema.ElicitationFormCapabilities()
        elicitation = schema.ElicitationCapabilities(form=form) if questions else None
        return await self.connection.initialize(
            protocol_version=acp.PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(elicitation=elicitation),
        )

    async def session(self, worktree: Path, mode: str | None = None) -> str:
        opened = await self.connection.new_session(cwd=str(worktree), mcp_servers=[])
        if mode:
            await self.connection.set_session_mode(session_id=opened.session_id, mode_id=mode)
        return opened.session_id

    async def prompt(self, session_id: str, text: str) -> schema.PromptResponse:
        return await self.connection.prompt(session_id=session_id, prompt=[acp.text_block(text)])

    async def failure(self, session_id: str, text: str) -> acp.RequestError:
        with pytest.raises(acp.RequestError) as caught:
            await self.prompt(session_id, text)
        return caught.value


StartAgent = Callable[..., Awaitable[Agent]]


@contextlib.asynccontextmanager
async def starter(provider: str, home: Path) -> AsyncIterator[StartAgent]:
    """Starts agents and ends them; none may have had anything to complain about."""
    started: list[Agent] = []
    complaints = (home / "stderr.txt").open("wb")

    async def start(*, cwd: Path | None = None, **env: str) -> Agent:
        keys = {"OPENAI_API_KEY": "sk-mock", "OPENAI_BASE_URL": f"{provider}/v1"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-W", "error", "-W", "ignore::ResourceWarning", str(PROGRAM)),
            cwd=cwd or home,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **(env or keys)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            limit=50_000_000,
        )
        started.append(Agent(process, home))
        return started[-1]

    try:
        yield start
    finally:
        for agent in started:
            await agent.connection.close()
            with contextlib.suppress(ProcessLookupError):
                agent.process.kill()
            await agent.process.wait()
        complaints.close()
    assert (home / "stderr.txt").read_text() == ""


@pytest_asyncio.fixture(loop_scope="module")
async def start_agent(provider: str, tmp_path: Path) -> AsyncIterator[StartAgent]:
    """Starts agents that end with the test; without arguments they have a key."""
    home = tmp_path / "home"
    home.mkdir()
    async with starter(provider, home) as start:
        yield start


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_agent(
    provider: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Agent]:
    """One agent for a whole module; tests use sessions of their own."""
    async with starter(provider, tmp_path_factory.mktemp("home")) as start:
        agent = await start(ANTHROPIC_API_KEY="sk-mock", ANTHROPIC_BASE_URL=provider)
        await agent.initialize()
        yield agent


@pytest.fixture
def agent(shared_agent: Agent) -> Agent:
    """The shared agent before a person of no habits yet."""
    person = shared_agent.person
    person.updates.clear()
    person.asked.clear()
    person.questions.clear()
    person.was_asked.clear()
    person.choose = person.answers = None
    return shared_agent


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    path = tmp_path / "worktree"
    path.mkdir()
    (path / "README.md").write_text("# demo\n")
    return path


async def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for something to become true; its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(0.01)
        return value


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
