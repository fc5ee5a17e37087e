"""A socket client that keeps every frame it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Frame = dict[str, Any]
MOST_CHECKED = 20


class Watch:
    """Use as a context manager. `frames` is in the order of arrival."""

    def __init__(self, port: int, token: str) -> None:
        self.frames: list[Frame] = []
        self.arrived: list[float] = []
        self.close_code: int | None = None
        self._changed = threading.Condition()
        self._socket = connect(
            f"ws://127.0.0.1:{port}/api/ws?token={token}", max_size=None, compression=None
        ).__enter__()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for text in self._socket:
                with self._changed:
                    self.frames.append(json.loads(text))
                    self.arrived.append(time.monotonic())
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        with self._changed:
            closed = self._socket.protocol.close_rcvd
            self.close_code = closed.code if closed else 1006
            self._changed.notify_all()

    def subscribe(self, **payload: Any) -> Frame:
        """By `projectId` or `sessionId`; returns the `subscribed` frame."""
        seen = len(self.frames)
        self._socket.send(json.dumps({"type": "subscribe", "payload": payload}))
        return self.wait(
            lambda frame: frame["type"] in ("subscribed", "error"), what="subscribed", after=seen
        )

    def wait(
        self,
        wanted: Callable[[Frame], bool],
        *,
        timeout: float = 15.0,
        what: str = "the frame",
        after: int = 0,
    ) -> Frame:
        """The first frame from `after` on that is wanted, arrived already or not."""
        deadline = time.monotonic() + timeout
        looked = after
        with self._changed:
            while True:
                for frame in self.frames[looked:]:
                    if wanted(frame):
                        return frame
                looked = max(looked, len(self.frames))
                left = deadline - time.monotonic()
                if left <= 0 or self.close_code is not None:
                    raise AssertionError(f"no {what}; the last frames: {self.frames[-5:]}")
                self._changed.wait(left)

    def status(self, session_id: str, status: str, *, timeout: float = 15.0) -> Frame:
        """Wait until the session is said to have it; a failure that isn't wanted ends the wait."""
        found = self.wait(
            lambda frame: (
                frame["type"] == "agent.status"
                and frame["data"]["sessionId"] == session_id
                and frame["data"]["status"] in (status, "failed")
            ),
            timeout=timeout,
            what=f"agent.status {status}",
        )
        assert found["data"]["status"] == status, found["data"]["error"]
        return found

    def seqs(self) -> list[int]:
        return [frame["seq"] for frame in self.frames if frame.get("seq") is not None]

    def transcript(self, session_id: str) -> dict[int, Frame]:
        """The newest version of each stored message, by index."""
        newest: dict[int, Frame] = {}
        for frame in self.frames:
            data = frame.get("data") or {}
            if frame["type"] == "agent.message" and data["sessionId"] == session_id:
                if data["index"] is None:
                    continue
                known = newest.get(data["index"])
                if known is None or known["rev"] < data["rev"]:
                    newest[data["index"]] = data
        return newest

    def close(self) -> None:
        self._socket.close()
        self._reader.join(5)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self._check()

    def _check(self) -> None:
        """What came is as the schema of the socket says; of each type only so many, for the sake of time."""
        # It needs Django's settings, which the bench, with the same boards, does without.
        from tests.contract.document import wrong_frame

        of_type: dict[str, list[Frame]] = {}
        for frame in self.frames:
            of_type.setdefault(frame["type"], []).append(frame)
        checked = [frame for frames in of_type.values() for frame in frames[:MOST_CHECKED]]
        assert [(frame, wrong) for frame in checked if (wrong := wrong_frame(frame))] == []
