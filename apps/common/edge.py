"""What every request passes before routing: who may reach this server at all, from where, how much.

A web page on the internet can make its visitor's browser call a server on the visitor's own machine, and
with a name of its own that points there (DNS rebinding) it can even read the answers. So the Host must be
one of ours on everything, GETs and sockets too, and on whatever changes something the Origin as well.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from apps.common.pools import Application, Headers, Message, Receive, Scope, Send, refuse
from apps.common.sizes import size

logger = logging.getLogger(__name__)

LARGEST_BODY = 2_500_000
SOCKET_PATH = "/api/ws"

_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    # For data, and files of others: a browser that shows them runs and loads nothing. Pages say otherwise.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


def _bare(host: str) -> str:
    """The name without port and brackets, lower-case."""
    found = _HOST.fullmatch(host.encode("latin-1", "replace"))
    return (found[1] or found[2]).decode().lower() if found else ""


@dataclass(frozen=True)
class Reach:
    """Names this server answers to, and other web origins that may call it."""

    hosts: frozenset[str]
    origins: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls, *, host: str, public_url: str, extra: Iterable[str], origins: Iterable[str]
    ) -> Reach:
        names = {"localhost", "127.0.0.1", "::1", host, urlsplit(public_url).hostname or ""}
        names |= {_bare(name) or name.lower() for name in extra}
        names -= {"", "0.0.0.0", "::", "*"}
        return cls(frozenset(names), frozenset(origin.lower() for origin in origins))

    def allows_host(self, value: bytes) -> bool:
        return _bare(value.decode("latin-1")) in self.hosts

    def allows_origin(self, value: bytes) -> bool:
        origin = value.decode("latin-1").lower()
        if origin in self.origins:
            return True
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and _bare(host) in self.hosts


class _TooLarge(Exception):
    pass


@dataclass(frozen=True)
class Edge:
    """`larger` names paths that take bigger bodies, and how big, in bytes."""

    http: Application
    websocket: Application
    reach: Reach
    larger: tuple[tuple[re.Pattern[str], int], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        origin = headers.get(b"origin")
        shared = origin is not None and origin.decode("latin-1").lower() in self.reach.origins
        extra = [*_SECURITY]
        if self.reach.origins:
            extra.append((b"vary", b"Origin"))
        if shared and origin is not None:
            extra += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", b"ETag, Retry-After, Content-Disposition"),
            ]
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((n, v) for n, v in extra if n == b"vary" or n not in given),
                ]
            await send(message)

        problem = self._problem(scope, headers, origin)
        if problem is not None:
            await refuse(guarded, *problem)
            return
        if (
            scope["method"] == "OPTIONS"
            and origin is not None
            and b"access-control-request-method" in headers
        ):
            await _preflight(guarded, headers, shared=shared)
            return
        if scope["path"] == SOCKET_PATH:
            await refuse(
                guarded,
                426,
                "upgrade_required",
                "This address speaks WebSocket only.",
                [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")],
            )
            return
        limit = self._limit(scope["path"])
        try:
            await self.http(scope, _limited(receive, limit), guarded)
        except _TooLarge:
            await refuse(guarded, *too_large(limit))
        except Exception:
            logger.exception("unexpected error at the edge: %s %s", scope["method"], scope["path"])
            if started:
                raise
            await refuse(
                guarded,
                500,
                "internal",
                "Something went wrong here; the server's log has the details.",
            )

    def _problem(
        self, scope: Scope, headers: dict[bytes, bytes], origin: bytes | None
    ) -> tuple[int, str, str] | None:
        if not self.reach.allows_host(headers.get(b"host", b"")):
            return _strange_host(headers.get(b"host", b""))
        if not _is_sound(scope):
            return 400, "invalid", "The address is not validly encoded."
        if (
            origin is not None
            and scope["method"] in _CHANGING
            and not self.reach.allows_origin(origin)
        ):
            return (
                403,
                "origin_refused",
                "This web origin may not change anything here. KANBAN_CORS_ORIGINS allows others.",
            )
        length = headers.get(b"content-length")
        if length is not None:
            if not length.isdigit():
                return 400, "invalid", "Content-Length must be a number."
            limit = self._limit(scope["path"])
            if len(length) > 15 or int(length) > limit:
                return too_large(limit)
        return None

    def _limit(self, path: str) -> int:
        for pattern, limit in self.larger:
            if pattern.search(path):
                return limit
        return LARGEST_BODY

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        origin = headers.get(b"origin")
        problem: tuple[int, str, str] | None = None
        if not self.reach.allows_host(headers.get(b"host", b"")):
            problem = _strange_host(headers.get(b"host", b""))
        elif origin is not None and not self.reach.allows_origin(origin):
            problem = (403, "origin_refused", "This web origin may not open a socket here.")
        elif scope["path"] != SOCKET_PATH:
            problem = (404, "not_found", f"Sockets are at {SOCKET_PATH}.")
        if problem is None:
            await self.websocket(scope, receive, send)
            return
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008})
            return

        async def denied(message: Message) -> None:
            message["type"] = message["type"].replace("http.", "websocket.http.")
            await send(message)

        await refuse(denied, *problem)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """By name; of a repeated Host or Origin nothing is left that could pass the checks."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _strange_host(host: bytes) -> tuple[int, str, str]:
    name = host.decode("latin-1")[:100]
    return (
        400,
        "host_not_allowed",
        f"This server does not answer to the name {name!r}. If it is yours, add it to"
        " KANBAN_ALLOWED_HOSTS.",
    )


def too_large(limit: int) -> tuple[int, str, str]:
    return 413, "too_large", f"The body may have {size(limit)} at most."


def _is_sound(scope: Scope) -> bool:
    """Path and query decode to text without control characters: a NUL reaches no view and no database."""
    raw = (scope.get("raw_path") or scope["path"].encode("utf-8", "replace")).partition(b"?")[0]
    if _BAD_ESCAPE.search(raw):
        return False
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(path) and b"%00" not in scope["query_string"]


def _limited(receive: Receive, limit: int) -> Receive:
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _TooLarge
        return message

    return counted


async def _preflight(send: Send, headers: dict[bytes, bytes], *, shared: bool) -> None:
    allowed: Headers = []
    if shared:
        wanted = headers.get(b"access-control-request-headers", b"")
        allowed = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", wanted or b"authorization, content-type"),
            (b"access-control-max-age", b"600"),
        ]
    await send({"type": "http.response.start", "status": 204, "headers": allowed})
    await send({"type": "http.response.body", "body": b""})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
