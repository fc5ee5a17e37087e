"""Sessions on disk, so that a conversation goes on after the process was killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

Mode = Literal["unattended", "ask", "plan"]
_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = 1
_KEY_NAMES = ("_API_KEY", "_TOKEN")
_SHORTEST_KEY = 8


class UnknownSessionError(LookupError):
    """There is no stored session of that id."""


class UnreadableSessionError(Exception):
    """The session's file is there and cannot be used. The message says why."""


@dataclass
class Session:
    """One conversation: what has to survive the process."""

    id: str
    cwd: str
    mode: Mode = "unattended"
    todo: list[dict[str, str]] = field(default_factory=list)
    # Names of the tools that the person allowed for the rest of the session.
    allowed: set[str] = field(default_factory=set)
    title: str | None = None
    updated_at: str = ""
    cost: float = 0.0
    messages: list[ModelMessage] = field(default_factory=list)


class SessionStore:
    """One JSON file a session below `directory`, replaced as a whole at each save.

    Only the process that runs a session writes its file; two processes on one session would each
    keep their own view, the last save winning.
    """

    def __init__(self, directory: Path, keys: Iterable[str] = ()) -> None:
        """`keys` are never written: a command may have printed what stands in our environment."""
        self.directory = directory
        self._keys = [key.encode() for key in keys if len(key) >= _SHORTEST_KEY]

    @classmethod
    def at_home(cls) -> SessionStore:
        keys = [value for name, value in os.environ.items() if name.endswith(_KEY_NAMES)]
        return cls(Path.home() / ".kanban-builtin" / "sessions", keys)

    def _path(self, session_id: str) -> Path:
        return self.directory / f"{session_id}.json"

    def create(self, cwd: str) -> Session:
        session = Session(secrets.token_hex(16), cwd)
        self.save(session)
        return session

    def save(self, session: Session) -> None:
        """Write to the disk for good (fsync) before returning. Raises OSError."""
        session.updated_at = datetime.now(UTC).isoformat()
        head = {
            "version": _VERSION,
            "id": session.id,
            "cwd": session.cwd,
            "mode": session.mode,
            "todo": session.todo,
            "allowed": sorted(session.allowed),
            "title": session.title,
            "updatedAt": session.updated_at,
            "cost": session.cost,
        }
        content = json.dumps(head, ensure_ascii=False).encode()[:-1]
        content += b', "messages": ' + _dump_messages(session.messages) + b"}\n"
        for key in self._keys:
            content = content.replace(key, b"****")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(session.id)
        temporary = path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _read(self, session_id: str) -> dict[str, Any]:
        if not _ID.fullmatch(session_id):
            raise UnknownSessionError(session_id)
        path = self._path(session_id)
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UnknownSessionError(session_id) from None
        except (OSError, ValueError) as problem:
            raise UnreadableSessionError(f"{path} cannot be read: {problem}") from problem
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            raise UnreadableSessionError(f"{path} was written by another version of this agent.")
        return data

    def load(self, session_id: str) -> Session:
        """The stored session, its history mended where the process was killed within a step.

        Raises UnknownSessionError or UnreadableSessionError.
        """
        data = self._read(session_id)
        try:
            return Session(
                id=session_id,
                cwd=data["cwd"],
                mode=cast(Mode, data["mode"]),
                todo=data["todo"],
                allowed=set(data["allowed"]),
                title=data["title"],
                updated_at=data["updatedAt"],
                cost=data["cost"],
                messages=_mend(_parse_messages(data["messages"])),
            )
        except (KeyError, TypeError, ValueError) as problem:
            path = self._path(session_id)
            raise UnreadableSessionError(f"{path} is damaged: {problem}") from problem

    def list(self, cwd: str | None) -> list[Session]:
        """The stored sessions, the latest first, without their messages; unreadable ones are left out."""
        found = []
        for path in self.directory.glob("*.json"):
            with contextlib.suppress(UnknownSessionError, UnreadableSessionError, KeyError):
                data = self._read(path.stem)
                if cwd is None or data["cwd"] == cwd:
                    session = Session(path.stem, data["cwd"], title=data["title"])
                    session.updated_at = data["updatedAt"]
                    found.append(session)
        return sorted(found, key=lambda session: session.updated_at, reverse=True)


def _dump_messages(messages: list[ModelMessage]) -> bytes:
    if not messages:
        # The common case of a new session must not wait for pydantic-ai's import.
        return b"[]"
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    return ModelMessagesTypeAdapter.dump_json(messages)


def _parse_messages(raw: list[Any]) -> list[ModelMessage]:
    if not raw:
        return []
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    return ModelMessagesTypeAdapter.validate_python(raw)


def _mend(messages: list[ModelMessage]) -> list[ModelMessage]:
    """Give every tool call a result and drop results without a call: providers refuse halves."""
    if not messages:
        return messages
    from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart

    mended: list[ModelMessage] = []
    open_calls: dict[str, ToolCallPart] = {}

    def close(parts: list[Any]) -> list[Any]:
        lost = [
            ToolReturnPart(
                tool_name=call.tool_name,
                content="The agent was stopped before this tool had finished. "
                "What it had done by then is unknown; check before you repeat it.",
                tool_call_id=call.tool_call_id,
                outcome="interrupted",
            )
            for call in open_calls.values()
        ]
        open_calls.clear()
        return [*lost, *parts]

    for message in messages:
        if isinstance(message, ModelRequest):
            kept: list[Any] = []
            for part in message.parts:
                known = True
                if isinstance(part, ToolReturnPart):
                    known = open_calls.pop(part.tool_call_id, None) is not None
                if known:
                    kept.append(part)
            parts = close(kept)
            if parts:
                message.parts = parts
                mended.append(message)
            continue
        if open_calls:
            mended.append(ModelRequest(parts=close([])))
        if isinstance(message, ModelResponse):
            open_calls.update(
                {
                    part.tool_call_id: part
                    for part in message.parts
                    if isinstance(part, ToolCallPart)
                }
            )
        mended.append(message)
    if open_calls:
        mended.append(ModelRequest(parts=close([])))
    return mended
