"""Runs the synchronous application in threads that stay: short requests in one pool, slow ones in another.

Django's own ASGI handler takes a fresh thread for each request, so that no database connection is ever
used twice; it answers a third of what this does. A request costs one hop to a thread and one back: its
body is read before and its answer sent after, so a slow client holds no thread.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from apps.common.envelope import dumps
from apps.common.errors import error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
CallerOf = Callable[[Scope], Awaitable[bytes]]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]

# In scope and environ alike: what the edge and a view tell each other about the request.
UNDER_WAY = "kanban.under_way"

_IN_MEMORY = 1_000_000
# A client that doesn't take a piece within it doesn't get the rest.
PIECE_WITHIN_S = 120.0
_BODYLESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Disconnected(Exception):
    """The client went away before its request was complete."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes | None


class _Outlet:
    """Sends pieces from a thread, each after the one before has gone out, until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self.loop = loop
        self._send = send
        self._closed = False
        self._sending: Future[None] | None = None

    def stream(self, answer: Answer, chunks: Iterable[bytes]) -> None:
        self._put(_start(answer))
        for chunk in chunks:
            self._put({"type": "http.response.body", "body": chunk, "more_body": True})
        self._put({"type": "http.response.body", "body": b""})

    def _put(self, message: Message) -> None:
        self._sending = asyncio.run_coroutine_threadsafe(_sent(self._send, message), self.loop)
        if self._closed:
            self._sending.cancel()
        try:
            self._sending.result(PIECE_WITHIN_S)
        except TimeoutError:
            self._sending.cancel()
            raise TimeoutError(f"a client took no piece within {PIECE_WITHIN_S} s") from None

    def close(self) -> None:
        """The thread goes no further; else one whose client is slow would hold up the server's end."""
        self._closed = True
        if self._sending is not None:
            self._sending.cancel()


class ThreadPool:
    """An ASGI application around a WSGI one.

    More than `limit` requests at once, waiting ones included, are refused with 503; more than
    `per_caller` of the same caller with 429; `caller_of` says who that is.
    """

    def __init__(
        self,
        wsgi: WsgiApplication,
        *,
        threads: int,
        limit: int,
        per_caller: int | None = None,
        caller_of: CallerOf | None = None,
    ) -> None:
        self._wsgi = wsgi
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="http")
        self._limit = limit
        self._per_caller = per_caller
        self._caller_of = caller_of
        self._busy = 0
        self._callers: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._busy >= self._limit:
            await refuse(send, 503, "busy", "The server is busy. Try again in a moment.")
            return
        # Counted before anything is waited for: whoever is looked up slowly takes a place as well, and who
        # sends slowly takes up memory and disk.
        self._busy += 1
        try:
            caller = await self._caller(scope)
        except BaseException:
            self._busy -= 1
            raise
        if self._per_caller and self._callers[caller] >= self._per_caller:
            self._busy -= 1
            await refuse(
                send,
                429,
                "rate_limited",
                f"You have {self._per_caller} slow requests under way. Wait for one of them.",
            )
            return
        self._callers[caller] += 1
        try:
            body, length = await _read(receive)
            environ = build_environ(scope, body, length)
        except BaseException as error:
            self._release(caller)
            if isinstance(error, Disconnected):
                return
            raise
        outlet = _Outlet(asyncio.get_running_loop(), send)
        working = outlet.loop.run_in_executor(self._threads, self._call, environ, outlet)
        # Whoever goes away leaves a thread at work, which counts until it is done.
        working.add_done_callback(lambda _: self._release(caller))
        try:
            answer = await asyncio.shield(working)
        except asyncio.CancelledError:
            outlet.close()
            raise
        if answer.body is not None:
            await send(_start(answer))
            await send({"type": "http.response.body", "body": answer.body})

    async def _caller(self, scope: Scope) -> bytes:
        if not self._per_caller:
            return b""
        return address_of(scope) if self._caller_of is None else await self._caller_of(scope)

    def _release(self, caller: bytes) -> None:
        self._busy -= 1
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]

    def _call(self, environ: dict[str, Any], outlet: _Outlet) -> Answer:
        started: list[Any] = []
        response: Iterable[bytes] = ()
        try:
            response = self._wsgi(environ, lambda *args: started.extend(args[:2]))
            status = int(started[0][:3])
            headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in started[1]
            ]
            head = environ["REQUEST_METHOD"] == "HEAD"
            if getattr(response, "streaming", False):
                answer = Answer(status, headers, None)
                outlet.stream(answer, () if head else response)
                return answer
            body = b"".join(response)
            if status in _BODYLESS:
                return Answer(status, headers, b"")
            if not any(name == b"content-length" for name, _ in headers):
                headers.append((b"content-length", b"%d" % len(body)))
            return Answer(status, headers, b"" if head else body)
        finally:
            environ["wsgi.input"].close()
            close = getattr(response, "close", None)
            if close is not None:
                close()


async def _sent(send: Send, message: Message) -> None:
    await send(message)


def _start(answer: Answer) -> Message:
    return {"type": "http.response.start", "status": answer.status, "headers": answer.headers}


async def refuse(
    send: Send, status: int, code: str, message: str, headers: Headers | None = None
) -> None:
    """Answer with an error in the API's format."""
    body = dumps(error_body(code, message))
    if status in (429, 503):
        headers = [*(headers or []), (b"retry-after", b"1")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *(headers or []),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def address_of(scope: Scope) -> bytes:
    client = scope.get("client")
    return str(client[0]).encode() if client else b""


async def _read(receive: Receive) -> tuple[BinaryIO, int]:
    """The whole body, in a file once it is large, and its length."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    first = message.get("body", b"")
    if not message.get("more_body"):
        return BytesIO(first), len(first)
    body: Any = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller's
    try:
        body.write(first)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body.write(message.get("body", b""))
        length = body.tell()
        body.seek(0)
    except BaseException:
        body.close()
        raise
    return body, length


def build_environ(scope: Scope, body: BinaryIO, length: int) -> dict[str, Any]:
    """CGI variables; the length is that of the body as it came, chunked or not."""
    raw_path = scope.get("raw_path")
    path = unquote_to_bytes(raw_path or scope["path"])
    host, port = scope.get("server") or ("localhost", 80)
    client = scope.get("client")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "REMOTE_ADDR": client[0] if client else "",
        "CONTENT_LENGTH": str(length) if length else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        UNDER_WAY: scope.get(UNDER_WAY),
    }
    for name, value in scope["headers"]:
        # A header with an underscore would pass for the one with a dash.
        if name == b"content-length" or b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key != "CONTENT_TYPE":
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    return environ
