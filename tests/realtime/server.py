"""A web process on the tests' database: `python -m tests.realtime.server daphne <descriptor>`.

Besides the application it has `/bare`, which fan-out is measured against.
"""

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

    from kanban_agents.asgi import application
    from kanban_agents.servers import RUNNERS, tune

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

    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (bare if scope["path"] == "/bare" else application)(scope, receive, send)

    tune(web=True)
    RUNNERS[kind](either, socket.socket(fileno=int(descriptor)), None)


main()
