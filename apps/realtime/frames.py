"""What goes over the socket besides stored events, and what comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from apps.common.envelope import dumps
from apps.common.ids import BadId, parse_id, public_id
from apps.common.sizes import size
from apps.events.bus import Position, since

LIMIT_BYTES = 65_536
# Larger numbers overflow a database integer.
_LARGEST = 10**18


class Refused(Exception):
    """An incoming frame that can't be served; becomes an `error` frame, never a close."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Project:
    id: int


@dataclass(frozen=True)
class Session:
    id: int


@dataclass(frozen=True)
class Run:
    """Of a script."""

    id: int


# What has lines instead of events.
Talker = Session | Run
Topic = Project | Talker


@dataclass(frozen=True)
class Auth:
    token: str


@dataclass(frozen=True)
class Subscribe:
    """`since` is a bare seq or a position; `after` and `after_rev` belong to sessions and runs."""

    topic: Topic
    since: Position | int | None = None
    after: int | None = None
    after_rev: int | None = None


@dataclass(frozen=True)
class Unsubscribe:
    topic: Topic


Request = Auth | Subscribe | Unsubscribe


def parse(text: str) -> Request:
    if len(text) > LIMIT_BYTES or len(text.encode("utf-8", "surrogatepass")) > LIMIT_BYTES:
        raise Refused("too_large", f"A message may have {size(LIMIT_BYTES)} at most.")
    try:
        message = orjson.loads(text)
    except ValueError:
        raise Refused("invalid", "A message must be JSON text.") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Refused("invalid", 'A message must be an object with a "type".')
    kind = message["type"]
    if kind not in ("auth", "subscribe", "unsubscribe"):
        raise Refused(
            "unknown_type",
            f'"{kind[:60]}" is none of the messages known here: auth, subscribe, unsubscribe.',
        )
    payload = message.get("payload")
    if not isinstance(payload, dict):
        raise Refused("invalid", f'"{kind}" needs a "payload" object.')
    if kind == "auth":
        token = payload.get("token")
        return Auth(token if isinstance(token, str) else "")
    topic = _topic(payload)
    if kind == "unsubscribe":
        return Unsubscribe(topic)
    return Subscribe(
        topic,
        since=_since(payload.get("since")),
        after=_number("after", payload.get("after"), lowest=-1),
        after_rev=_number("afterRev", payload.get("afterRev")),
    )


def _topic(payload: dict[str, Any]) -> Topic:
    given = [name for name in ("projectId", "sessionId", "runId") if payload.get(name) is not None]
    if len(given) != 1:
        raise Refused("invalid", "The payload must name one of projectId, sessionId and runId.")
    name = given[0]
    try:
        if name == "projectId":
            return Project(parse_id("project", payload[name]))
        if name == "sessionId":
            return Session(parse_id("session", payload[name]))
        return Run(parse_id("run", payload[name]))
    except BadId as error:
        raise Refused("invalid", f"{name} {error}.") from None


def _number(name: str, value: Any, *, lowest: int = 0) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < _LARGEST:
        raise Refused("invalid", f"{name} must be a whole number from {lowest} on.")
    return value


def _since(value: Any) -> Position | int | None:
    if isinstance(value, str):
        try:
            return since(value)
        except ValueError as error:
            raise Refused("invalid", f"{error}.") from None
    return _number("since", value)


def named(topic: Topic) -> dict[str, Any]:
    if isinstance(topic, Project):
        return {"projectId": public_id("project", topic.id)}
    if isinstance(topic, Run):
        return {"runId": public_id("run", topic.id)}
    return {"sessionId": public_id("session", topic.id)}


def make(kind: str, data: dict[str, Any]) -> str:
    return dumps({"type": kind, "data": data}).decode()


def error(code: str, message: str, topic: Topic | None = None) -> str:
    about = named(topic) if topic is not None else {}
    return make("error", {"code": code, "message": message, **about})


def project_frame(kind: str, project_id: int, position: Position) -> str:
    """`subscribed` or `resync`."""
    about = named(Project(project_id))
    return make(kind, {**about, "epoch": position.epoch, "seq": position.seq})


def lines_frame(kind: str, topic: Talker, index: int, rev: int) -> str:
    """`subscribed` or `resync`."""
    return make(kind, {**named(topic), "index": index, "rev": rev})
