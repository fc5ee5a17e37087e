"""The agent's side of the protocol: sessions, prompts, modes and cancelling."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import acp
from acp import RequestError, schema

from apps.agents.builtin.client import SessionClient
from apps.agents.builtin.credentials import SetupError, choose
from apps.agents.builtin.mcp import McpServers
from apps.agents.builtin.memory import COMPACT
from apps.agents.builtin.provider import ProviderError, build_model
from apps.agents.builtin.replay import replay
from apps.agents.builtin.store import (
    Mode,
    Session,
    SessionStore,
    UnknownSessionError,
    UnreadableSessionError,
)
from apps.agents.builtin.turn import Turn

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_MODES = [
    schema.SessionMode(
        id="unattended", name="Unattended", description="Works without asking for permission"
    ),
    schema.SessionMode(id="ask", name="Ask", description="Asks before each change and command"),
    schema.SessionMode(
        id="plan", name="Plan", description="Reads only, until its plan is approved"
    ),
]
# Clients drop updates of a session whose id they have not been told yet.
_ANSWER_FIRST = 0.05
_AUTH_REQUIRED = -32000
_INVALID_REQUEST = -32600
_INVALID_PARAMS = -32602
_NOT_FOUND = -32002
_INTERNAL = -32603


def _modes(session: Session) -> schema.SessionModeState:
    return schema.SessionModeState(current_mode_id=session.mode, available_modes=_MODES)


def _directory(cwd: str) -> str:
    if not Path(cwd).is_absolute() or not Path(cwd).is_dir():
        raise RequestError(
            _INVALID_PARAMS,
            f"The working directory {cwd} does not exist or is not an absolute path.",
        )
    return cwd


class BuiltinAgent:
    """Any number of sessions; each works on one prompt at a time."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._connection: Any = None
        self._capabilities: schema.ClientCapabilities | None = None
        self._sessions: dict[str, Session] = {}
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._servers: dict[str, McpServers] = {}
        self._model: asyncio.Task[Model] | None = None
        self._announcements: set[asyncio.Task[None]] = set()

    def on_connect(self, conn: Any) -> None:
        self._connection = conn

    def _client(self, session_id: str) -> SessionClient:
        return SessionClient(self._connection, session_id, self._capabilities)

    def _load_model(self) -> asyncio.Task[Model]:
        """Begin to import the provider's SDK in a thread, so that answers needn't wait for it."""
        if self._model is None:
            try:
                choice = choose(os.environ)
            except SetupError as problem:
                data = {"errorKind": "authentication", "message": str(problem)}
                raise RequestError(_AUTH_REQUIRED, str(problem), data) from problem
            self._model = asyncio.create_task(asyncio.to_thread(build_model, choice))
        return self._model

    async def initialize(
        self,
        protocol_version: int,
        client_capabilities: schema.ClientCapabilities | None = None,
        client_info: schema.Implementation | None = None,
        **_: Any,
    ) -> schema.InitializeResponse:
        self._capabilities = client_capabilities
        return schema.InitializeResponse(
            protocol_version=acp.PROTOCOL_VERSION,
            agent_info=schema.Implementation(
                name="kanban-builtin", title="Built-in agent", version="1"
            ),
            agent_capabilities=schema.AgentCapabilities(
                load_session=True,
                prompt_capabilities=schema.PromptCapabilities(image=True, embedded_context=True),
                mcp_capabilities=schema.McpCapabilities(http=True),
                session_capabilities=schema.SessionCapabilities(
                    list=schema.SessionListCapabilities(),
                    resume=schema.SessionResumeCapabilities(),
                    close=schema.SessionCloseCapabilities(),
                ),
            ),
            auth_methods=[],
        )

    async def new_session(
        self, cwd: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> schema.NewSessionResponse:
        self._load_model()
        session = self._store.create(_directory(cwd))
        self._sessions[session.id] = session
        self._servers[session.id] = McpServers(mcp_servers or [], Path(cwd))
        self._announce(session.id)
        return schema.NewSessionResponse(session_id=session.id, modes=_modes(session))

    def _announce(self, session_id: str) -> None:
        """Name the slash commands once the answer that opens the session is on its way."""

        async def tell() -> None:
            await asyncio.sleep(_ANSWER_FIRST)
            with contextlib.suppress(ConnectionError):
                await self._client(session_id).commands(
                    {COMPACT: "Replace the conversation by a summary to make room"}
                )

        task = asyncio.create_task(tell())
        self._announcements.add(task)
        task.add_done_callback(self._announcements.discard)

    async def _open(self, session_id: str, cwd: str, mcp_servers: list[Any] | None) -> Session:
        loading = self._load_model()
        session = self._sessions.get(session_id)
        if session is None:
            # Two threads that import pydantic-ai at once find each other's half-made modules.
            await asyncio.shield(loading)
            try:
                session = await asyncio.to_thread(self._store.load, session_id)
            except UnknownSessionError:
                raise self._unknown(session_id) from None
            except UnreadableSessionError as problem:
                raise RequestError(_INTERNAL, str(problem)) from problem
        session.cwd = _directory(cwd)
        if former := self._servers.get(session_id):
            await former.close()
        self._servers[session_id] = McpServers(mcp_servers or [], Path(cwd))
        self._announce(session_id)
        return self._sessions.setdefault(session_id, session)

    @staticmethod
    def _unknown(session_id: str) -> RequestError:
        return RequestError(
            _NOT_FOUND,
            f"There is no session {session_id}. Start a new one.",
            {"uri": session_id},
        )

    async def load_session(
        self, cwd: str, session_id: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> schema.LoadSessionResponse:
        session = await self._open(session_id, cwd, mcp_servers)
        await replay(session, self._client(session_id))
        return schema.LoadSessionResponse(modes=_modes(session))

    async def resume_session(
        self, session_id: str, cwd: str, mcp_servers: list[Any] | None = None, **_: Any
    ) -> schema.ResumeSessionResponse:
        session = await self._open(session_id, cwd, mcp_servers)
        return schema.ResumeSessionResponse(modes=_modes(session))

    async def list_sessions(self, cwd: str | None = None, **_: Any) -> schema.ListSessionsResponse:
        found = await asyncio.to_thread(self._store.list, cwd)
        return schema.ListSessionsResponse(
            sessions=[
                schema.SessionInfo(
                    session_id=session.id,
                    cwd=session.cwd,
                    title=session.title,
                    updated_at=session.updated_at,
                )
                for session in found
            ]
        )

    async def close_session(self, session_id: str, **_: Any) -> schema.CloseSessionResponse:
        """Stop what runs and forget the session in memory; the stored one stays."""
        await self.cancel(session_id)
        self._sessions.pop(session_id, None)
        if servers := self._servers.pop(session_id, None):
            await servers.close()
        return schema.CloseSessionResponse()

    async def set_session_mode(
        self, session_id: str, mode_id: str, **_: Any
    ) -> schema.SetSessionModeResponse:
        session = self._known(session_id)
        if mode_id not in get_args(Mode):
            raise RequestError(
                _INVALID_PARAMS,
                f"There is no mode {mode_id}. Modes: {', '.join(get_args(Mode))}.",
            )
        session.mode = cast(Mode, mode_id)
        self._store.save(session)
        return schema.SetSessionModeResponse()

    def _known(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise self._unknown(session_id)
        return session

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        session = self._known(session_id)
        if session_id in self._running:
            raise RequestError(
                _INVALID_REQUEST,
                "This session still works on an earlier prompt. Wait for its end or cancel it.",
                {"errorKind": "busy"},
            )
        turns: list[Turn] = []
        task = asyncio.create_task(self._work(session, prompt, turns))
        self._running[session_id] = task
        try:
            stop_reason = await task
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            if mine is not None and mine.cancelling():
                raise
            stop_reason = "cancelled"
        except ProviderError as problem:
            raise problem.failure.error() from problem
        except OSError as problem:
            raise RequestError(
                _INTERNAL,
                f"The session could not be saved: {problem}",
                {"errorKind": "storage", "message": str(problem)},
            ) from problem
        finally:
            self._running.pop(session_id, None)
        usage = turns[0].spent.usage() if turns else None
        return schema.PromptResponse(stop_reason=stop_reason, usage=usage)

    async def _work(self, session: Session, prompt: list[Any], turns: list[Turn]) -> Any:
        # The shield keeps the import going when this prompt is cancelled: others need it too.
        model = await asyncio.shield(self._load_model())
        turn = Turn(
            session, self._store, self._client(session.id), model, self._servers[session.id]
        )
        turns.append(turn)
        return await turn.run(_contents(prompt))

    async def cancel(self, session_id: str, **_: Any) -> None:
        if task := self._running.get(session_id):
            task.cancel()


def _contents(blocks: list[Any]) -> list[Any]:
    """A prompt's blocks as pydantic-ai takes them."""
    from pydantic_ai.messages import BinaryContent

    contents: list[Any] = []
    for block in blocks:
        match block:
            case schema.TextContentBlock(text=text):
                contents.append(text)
            case schema.ImageContentBlock(data=data, mime_type=kind):
                contents.append(BinaryContent(base64.b64decode(data), media_type=kind))
            case schema.ResourceContentBlock(name=name, uri=uri):
                contents.append(f"[{name}]({uri})")
            case schema.EmbeddedResourceContentBlock(
                resource=schema.TextResourceContents(uri=uri, text=text)
            ):
                contents.append(f'<resource uri="{uri}">\n{text}\n</resource>')
            case _:
                contents.append(f"[a {block.type} that this agent cannot read]")
    return contents


async def _serve() -> None:
    listening = asyncio.create_task(
        acp.run_agent(cast(Any, BuiltinAgent(SessionStore.at_home())), use_unstable_protocol=True)
    )
    # A cancelled turn kills its command; the default action would leave it running.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listening.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await listening


def serve() -> int:
    """Serve one client on standard input and output until it closes them."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    # What libraries warn about is nothing the person at the board could act on.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
    return 0
