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
    from kanban_agents.servers import RUNNERS

    sockets = SocketConsumer.as_asgi()

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        """Says again to everybody what one of them says: the least a server can do."""
        from apps.realtime.flow import direct_write

        class NoValve:
            def pauseProducing(self) -> None: ...
            def resumeProducing(self) -> None: ...
            def stopProducing(self) -> None: ...

        await receive()
        await send({"type": "websocket.accept"})
        write = direct_write(send, NoValve())
        everybody[send] = write
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"]
            encoded = text.encode()
            for other, other_write in list(everybody.items()):
                if other_write is not None:
                    other_write(encoded)
                else:
                    await other({"type": "websocket.send", "text": text})
        del everybody[send]

    everybody: dict[Any, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await (bare if scope["path"] == "/bare" else sockets)(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    RUNNERS[kind](application, socket.socket(fileno=int(descriptor)), None)


main()
