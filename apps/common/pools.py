"""Runs the synchronous application in threads that stay: short requests in one pool, slow ones in another.

Django's own ASGI handler takes a fresh thread for each request, so that no database connection is ever
used twice; it answers a third of what this does. A request costs one hop to a thread and one back: its
body is read before and its answer sent after, so a slow client holds no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from apps.common.admission import Admission
from apps.common.downloads import Pieces, Reader
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
# Whoever is refused one has had all of its work done: it is no good to ask again each second.
_DOWNLOAD_ENDS_S = 30
_BODYLESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Disconnected(Exception):
    """The client went away before its request was complete."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes | Pieces


class ThreadPool:
    """An ASGI application around a WSGI one.

    More than `limit` requests at once, waiting ones included, are refused with 503; more than
    `per_caller` of the same caller with 429; `caller_of` says who that is. A request counts until its
    answer begins. Answers in pieces count from then on, by themselves: `downloads` at once, and as many
    of the same caller.
    """

    def __init__(
        self,
        wsgi: WsgiApplication,
        *,
        threads: int,
        limit: int,
        per_caller: int | None = None,
        caller_of: CallerOf | None = None,
        downloads: int,
    ) -> None:
        self._wsgi = wsgi
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="http")
        self._caller_of = caller_of
        self._places = Admission(limit, per_caller)
        self._downloads = Admission(downloads, per_caller)
        self._reader = Reader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._places.take():
            await refuse(send, 503, "busy", "The server is busy. Try again in a moment.")
            return
        # Counted before anything is waited for: whoever is looked up slowly takes a place as well, and who
        # sends slowly takes up memory and disk.
        try:
            caller = await self._caller(scope)
        except BaseException:
            self._places.give_back()
            raise
        if not self._places.keep_for(caller):
            await _refuse_another(send, f"{self._places.per_caller} slow requests")
            return
        try:
            body, length = await _read(receive)
            environ = build_environ(scope, body, length)
        except BaseException as error:
            self._places.give_back(caller)
            if isinstance(error, Disconnected):
                return
            raise
        working = asyncio.get_running_loop().run_in_executor(self._threads, self._call, environ)
        # Whoever goes away leaves a thread at work, which counts until it is done.
        working.add_done_callback(lambda _: self._places.give_back(caller))
        try:
            answer = await asyncio.shield(working)
        except asyncio.CancelledError:
            working.add_done_callback(self._let_go)
            raise
        if isinstance(answer.body, bytes):
            await send(_start(answer))
            await send({"type": "http.response.body", "body": answer.body})
            return
        try:
            async with departure(receive) as gone:
                await self._download(answer, answer.body, caller, send, gone)
        finally:
            await self._reader.close(answer.body)

    async def _download(
        self,
        answer: Answer,
        pieces: Pieces,
        caller: bytes,
        send: Send,
        gone: asyncio.Task[None],
    ) -> None:
        if not self._downloads.take():
            message = "Too many downloads are under way. Try again when one of them has ended."
            await refuse(send, 503, "busy", message, retry_after=_DOWNLOAD_ENDS_S)
            return
        if not self._downloads.keep_for(caller):
            under_way = f"{self._downloads.per_caller} downloads"
            await _refuse_another(send, under_way, retry_after=_DOWNLOAD_ENDS_S)
            return
        try:
            await send(_start(answer))
            async for piece in self._reader.read(pieces):
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._downloads.give_back(caller)

    def _let_go(self, working: asyncio.Future[Answer]) -> None:
        if working.cancelled() or working.exception() is not None:
            return
        body = working.result().body
        if not isinstance(body, bytes):
            self._reader.close(body)

    async def _caller(self, scope: Scope) -> bytes:
        if not self._places.per_caller:
            return b""
        return address_of(scope) if self._caller_of is None else await self._caller_of(scope)

    def _call(self, environ: dict[str, Any]) -> Answer:
        started: list[Any] = []
        response: Any = ()
        try:
            response = self._wsgi(environ, lambda *args: started.extend(args[:2]))
            status = int(started[0][:3])
            headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in started[1]
            ]
            head = environ["REQUEST_METHOD"] == "HEAD"
            if getattr(response, "streaming", False):
                if head:
                    return Answer(status, headers, b"")
                # Closed by whoever sends it.
                pieces, response = response, ()
                return Answer(status, headers, pieces)
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


def _start(answer: Answer) -> Message:
    return {"type": "http.response.start", "status": answer.status, "headers": answer.headers}


async def _refuse_another(send: Send, what: str, *, retry_after: int = 1) -> None:
    message = f"You have {what} under way. Wait for one of them."
    await refuse(send, 429, "rate_limited", message, retry_after=retry_after)


async def refuse(
    send: Send,
    status: int,
    code: str,
    message: str,
    headers: Headers | None = None,
    *,
    retry_after: int = 1,
) -> None:
    """Answer with an error in the API's format. `retry_after`: in seconds, said with 429 and 503."""
    body = dumps(error_body(code, message))
    if status in (429, 503):
        headers = [*(headers or []), (b"retry-after", b"%d" % retry_after)]
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


@contextlib.asynccontextmanager
async def departure(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client goes away."""

    async def departed() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(departed())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
