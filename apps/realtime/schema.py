"""What goes through `/api/ws` besides the projects' events: see the `schema` modules of the apps below."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from apps.common.shapes import More, ProjectId, RunId, Schema, SessionId, given_id

_NUMBER = {"type": "integer", "minimum": 0, "exclusiveMaximum": 10**18}


class ProjectPosition(TypedDict):
    projectId: ProjectId
    epoch: str
    seq: Annotated[int, More(minimum=0)]


class SessionPosition(TypedDict):
    sessionId: SessionId
    index: int
    rev: int


class RunPosition(TypedDict):
    runId: RunId
    index: int
    rev: int


class SocketError(TypedDict):
    """With what it is about, where it is about something that was followed."""

    code: str
    message: str
    projectId: NotRequired[ProjectId]
    sessionId: NotRequired[SessionId]
    runId: NotRequired[RunId]


Position = ProjectPosition | SessionPosition | RunPosition

FRAMES: dict[str, Any] = {"subscribed": Position, "resync": Position, "error": SocketError}


def _about(kind: str, name: str, more: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": {name: given_id(kind), **more}, "required": [name]}


_LINES: dict[str, Schema] = {"after": {"type": "integer", "minimum": -1}, "afterRev": _NUMBER}
_SINCE: Schema = {
    "anyOf": [_NUMBER, {"type": "string", "pattern": "^(.*:)?[0-9]{1,18}$"}],
    "examples": ["3f2a:17"],
}


def _subscription(project: dict[str, Schema], lines: dict[str, Schema]) -> Schema:
    return {
        "oneOf": [
            _about("project", "projectId", project),
            _about("session", "sessionId", lines),
            _about("run", "runId", lines),
        ]
    }


# What clients send; the payload of each type.
REQUESTS: dict[str, Schema] = {
    "auth": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]},
    "subscribe": _subscription({"since": _SINCE}, _LINES),
    "unsubscribe": _subscription({}, {}),
}
