"""Runs the ASGI application in daphne or uvicorn on a socket that is already bound.

The socket belongs to the supervisor and outlives a web process: while one is being replaced, callers
wait in the queue instead of being refused. Server packages are imported only when used.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

BACKLOG = 2048
# A connection on which nothing moves for so long is closed.
IDLE_S = 60.0
PING_EVERY = 30
LARGEST_FRAME = 1024 * 1024
# A file of 25 MB, a project of 200 MB, and the multipart around it. So large that not many at once may lie
# on the disk until they are complete.
UPLOADS = (
    (re.compile(r"^/api/projects/[^/]+/cards/[^/]+/attachments$"), 26_500_000),
    (re.compile(r"^/api/projects/import$"), 201_500_000),
)
# Of any other request that reaches the application, whose own limits say more.
LARGEST_BODY = 26_500_000


def tune(*, web: bool) -> None:
    """Settings of the interpreter for a long life: freeze what the start made and collect rarely.

    With Python's defaults the cyclic collector alone makes a p90 of 60 ms on a bare answer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    if web:
        # The loop must get the GIL back quickly from the threads that run views.
        sys.setswitchinterval(0.001)


def _beat(descriptor: int) -> None:
    """Write a byte to the supervisor now and then every second, for as long as the loop turns."""
    loop = asyncio.get_event_loop()

    def once() -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(descriptor, b".")
        loop.call_later(1.0, once)

    os.set_blocking(descriptor, False)
    once()


def _measure_with_monotonic_clock(reactor: Any) -> None:
    """daphne and Twisted measure by the wall clock: set back, it would stop timers and pings for as long."""
    from daphne import http_protocol, server, ws_protocol

    type(reactor).seconds = staticmethod(time.monotonic)
    for module in (http_protocol, server, ws_protocol):
        module.time = SimpleNamespace(time=time.monotonic)


def _largest_upload(address: bytes) -> int | None:
    """None for an address that takes no files."""
    path = address.partition(b"?")[0].decode("latin-1")
    return next((limit for pattern, limit in UPLOADS if pattern.match(path)), None)


def _tame_requests() -> None:
    """Make daphne refuse a body that nobody here takes, before it has written all of it to the disk.

    It hands a request on only when the body is complete, so that the application's limit comes too late.
    Forms are left to the application: Twisted would read them into memory, and answer broken ones itself.
    """
    from daphne import http_protocol

    class Request(http_protocol.WebRequest):  # type: ignore[misc]
        upload: int | None = None
        received = 0
        refused = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

        def gotLength(self, length: int | None) -> None:
            super().gotLength(length)
            self.upload = _largest_upload(self.channel._path)
            if length is not None and length > (self.upload or LARGEST_BODY):
                self.refuse()

        def handleContentChunk(self, data: bytes) -> None:
            self.received += len(data)
            if self.received > (self.upload or LARGEST_BODY) and not self.refused:
                self.refuse()
            if not self.refused:
                super().handleContentChunk(data)

        def handle_exception(self, exception: BaseException) -> None:
            if self._response_started:
                # Else half an answer would pass for one that is still to come; daphne's own way raises.
                self.channel.forceAbortClient()
            else:
                super().handle_exception(exception)

        def refuse(self) -> None:
            # Imported when needed: they want Django's settings, which a bare application has not.
            from apps.common import edge
            from apps.common.envelope import dumps
            from apps.common.errors import error_body

            self.refused = True
            _status, code, message = edge.too_large(self.upload or edge.LARGEST_BODY)
            body = dumps(error_body(code, message))
            self.channel.transport.write(
                b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            self.channel.transport.loseConnection()

    http_protocol.WebRequest = Request


def run_daphne(application: Any, listener: socket.socket, report: int | None) -> None:
    # daphne first: it chooses Twisted's reactor when it is imported.
    import daphne.server  # noqa: F401
    from twisted.internet import reactor

    from kanban_agents.slow_clients import Channel, Server

    _measure_with_monotonic_clock(reactor)
    _tame_requests()
    listener.setblocking(False)  # noqa: FBT003
    listener.listen(BACKLOG)

    def ready() -> None:
        server.http_factory.protocol = Channel
        server.http_factory.timeOut = IDLE_S
        reactor.adoptStreamPort(listener.fileno(), listener.family, server.http_factory)
        if report is not None:
            _beat(report)

    server = Server(
        application=application,
        endpoints=["adopted"],
        signal_handlers=True,
        http_timeout=None,
        request_buffer_size=256 * 1024,
        websocket_timeout=-1,
        ping_interval=PING_EVERY,
        ping_timeout=PING_EVERY,
        websocket_max_message_size=LARGEST_FRAME,
        websocket_max_frame_size=LARGEST_FRAME,
        application_close_timeout=2,
        ready_callable=ready,
        server_name="kanban-agents",
        verbosity=0,
    )
    # The constructor insists on one, but a description in text costs a search for Twisted's plugins.
    server.endpoints = []
    server.run()


def run_uvicorn(application: Any, listener: socket.socket, report: int | None) -> None:
    import uvicorn

    from kanban_agents.slow_clients_of_uvicorn import Protocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if report is not None:
                _beat(report)

    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=Protocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        proxy_headers=False,
        server_header=False,
        ws_max_size=LARGEST_FRAME,
        ws_ping_interval=PING_EVERY,
        ws_ping_timeout=PING_EVERY,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )
    Server(config).run(sockets=[listener])


RUNNERS: dict[str, Callable[[Any, socket.socket, int | None], None]] = {
    "daphne": run_daphne,
    "uvicorn": run_uvicorn,
}
