"""daphne before clients that take their answers slowly, or not at all.

By itself its `send` never waits, so that the whole of a download would lie in this process, and Twisted
counts as idle who sends nothing, though a large answer is still on its way to them: they would get a part.
"""

from __future__ import annotations

import asyncio
from typing import Any

from daphne.server import Server as Daphne
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

# It is typed in part only, so that each of its methods would be a complaint.
HTTPChannel: Any = http.HTTPChannel


class Channel(HTTPChannel):  # type: ignore[misc]
    """Closed by its clock when nothing has moved, in either direction, since that was set.

    The clock stands still only while an answer is awaited of which nothing is under way.
    """

    _unsent = 0

    def __init__(self) -> None:
        super().__init__()
        self._gone = False
        self._waiting: list[asyncio.Future[None]] = []

    async def room(self) -> None:
        """Wait until the client has taken what was sent, or is gone."""
        while self._waitingForTransport and not self._gone:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def setTimeout(self, period: float | None) -> Any:
        self._unsent = _unsent(self.transport)
        return super().setTimeout(period)

    def timeoutConnection(self) -> None:
        unsent = _unsent(self.transport)
        if not unsent:
            self.loseConnection()
        elif unsent < self._unsent:
            self.setTimeout(self.timeOut)
        else:
            self.forceAbortClient()

    def requestDone(self, request: http.Request) -> None:
        # Asked first: the next request may begin before that returns, and say otherwise.
        closing = not self.persistent
        super().requestDone(request)
        if closing:
            # Twisted closes it once all has been taken, for which it would wait without end.
            self.setTimeout(self._savedTimeOut)

    def pauseProducing(self) -> None:
        super().pauseProducing()
        if self._handlingRequest:
            self.setTimeout(self._savedTimeOut)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._handlingRequest:
            self.setTimeout(None)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._go_on()
        super().connectionLost(reason)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _unsent(transport: Any) -> int:
    buffered: int = len(transport.dataBuffer) + transport._tempDataLen
    return buffered - int(transport.offset)


class Server(Daphne):  # type: ignore[misc]
    async def handle_reply(self, protocol: Any, message: Any) -> None:
        channel = getattr(protocol, "channel", None)
        await super().handle_reply(protocol, message)
        if isinstance(channel, Channel) and message.get("more_body"):
            await channel.room()
