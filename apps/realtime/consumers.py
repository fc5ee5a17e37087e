"""`/api/ws` as a Channels consumer without a channel layer: the hub fans out, not Redis per socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from apps.realtime import frames
from apps.realtime.connection import UNAUTHENTICATED, Connection
from apps.realtime.frames import Auth, Refused
from apps.realtime.hub import current_hub

AUTH_WITHIN_S = 5.0


class SocketConsumer(AsyncWebsocketConsumer):
    """Accepts, then closes with 4001 whoever has no good token: browsers see no code of a refused upgrade.

    With `?auth=frame` the token is awaited as the first frame, so that it is in no proxy's log.
    """

    # No layer has this name, so no socket gets a Redis connection of its own.
    channel_layer_alias = "none"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.connection: Connection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._awaiting_token = False
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stop_waiting()
            if self.connection is not None:
                self.connection.ended()

    async def dispatch(self, message: Any) -> None:
        # Not the inherited one: it goes through a thread for each frame to close connections to the
        # database that are not there.
        handler: Callable[[Any], Awaitable[None]] = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    async def connect(self) -> None:
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        token = query.get("token", [None])[0]
        await self.accept()
        self.connection = Connection(current_hub(), self.base_send, self.scope["headers"])
        if token is None and query.get("auth") == ["frame"]:
            self._awaiting_token = True
            self._deadline = asyncio.get_running_loop().call_later(
                AUTH_WITHIN_S, self.connection.close, UNAUTHENTICATED
            )
            return
        await self.connection.authenticate(token)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        connection = self.connection
        if connection is None or connection.outbox.closed:
            return
        if text_data is None:
            connection.say(frames.error("invalid", "A message must be text, not binary."))
            return
        if self._awaiting_token:
            self._awaiting_token = False
            self._stop_waiting()
            token = None
            with contextlib.suppress(Refused):
                request = frames.parse(text_data)
                token = request.token if isinstance(request, Auth) else None
            if await connection.authenticate(token) and token is None:
                await connection.receive(text_data)
            return
        if connection.caller is not None:
            await connection.receive(text_data)

    async def disconnect(self, code: int) -> None:
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
