"""A person's browser, as far as the socket goes."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE_S = 5.0


class Client:
    def __init__(self, url: str) -> None:
        # The first to come waits for the server to start, which takes its time on a busy machine.
        self._connecting = connect(
            url, max_size=None, compression=None, proxy=None, open_timeout=30
        )

    def __enter__(self) -> Client:
        self.socket = self._connecting.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connecting.__exit__(kind, error, trace)

    def say(self, kind: str, **payload: Any) -> None:
        self.socket.send(json.dumps({"type": kind, "payload": payload}))

    def next(self, within: float = PATIENCE_S) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv(timeout=within))
        return message

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.next() for _ in range(count)]

    def subscribe(self, **payload: Any) -> dict[str, Any]:
        self.say("subscribe", **payload)
        answer = self.next()
        assert answer["type"] == "subscribed", answer
        data: dict[str, Any] = answer["data"]
        return data

    def is_silent(self, for_seconds: float = 0.3) -> bool:
        try:
            self.next(within=for_seconds)
        except TimeoutError:
            return True
        return False

    def close_code(self, within: float = PATIENCE_S) -> int | None:
        """The code the server closes with; what comes before it is read and dropped."""
        try:
            while True:
                self.socket.recv(timeout=within)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
