"""A web process with nothing but the socket: `python -m tests.realtime.server daphne <descriptor>`."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

# daphne first: it chooses Twisted's reactor when it is imported.
import daphne.server  # noqa: F401
import django
from django.conf import settings


def main() -> None:
    kind, descriptor = sys.argv[1:]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kanban_agents.settings")
    django.setup()
    settings.DATABASES["default"]["NAME"] = os.environ["KANBAN_TEST_DATABASE"]

    from apps.realtime.consumers import SocketConsumer
    from kanban_agents.servers import RUNNERS, tune

    sockets = SocketConsumer.as_asgi()

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        """Says again to everybody what one of them says: the least an ASGI application can do."""
        await receive()
        await send({"type": "websocket.accept"})
        everybody.append(send)
        while (message := await receive())["type"] == "websocket.receive":
            for other in list(everybody):
                await other({"type": "websocket.send", "text": message["text"]})
        everybody.remove(send)

    everybody: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await (bare if scope["path"] == "/bare" else sockets)(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    tune(web=True)
    RUNNERS[kind](application, socket.socket(fileno=int(descriptor)), None)


main()
