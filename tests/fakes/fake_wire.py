"""JSON-RPC lines over stdio, for the scripted agent. Standard library only: it must start in milliseconds."""

from __future__ import annotations

import json
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Wire:
    """Writes are whole lines and may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replies: dict[int, Any] = {}
        self._answered = threading.Condition()
        self._next_id = 0

    def raw(self, data: bytes) -> None:
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]

    def send(self, message: dict[str, Any]) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def update(self, session_id: str, update: dict[str, Any]) -> None:
        self.send(
            {"method": "session/update", "params": {"sessionId": session_id, "update": update}}
        )

    def reply(self, request_id: Any, result: Any) -> None:
        self.send({"id": request_id, "result": result})

    def refuse(self, request_id: Any, code: int, message: str, data: Any = None) -> None:
        error = {"code": code, "message": message}
        self.send({"id": request_id, "error": error if data is None else {**error, "data": data}})

    def ask(self, method: str, params: dict[str, Any], give_up: threading.Event) -> Any:
        """Send a request and wait for its answer; None when `give_up` is set first."""
        with self._answered:
            self._next_id += 1
            mine = self._next_id
        self.send({"id": mine, "method": method, "params": params})
        with self._answered:
            while mine not in self._replies and not give_up.is_set():
                self._answered.wait(0.02)
            return self._replies.pop(mine, None)

    def answered(self, message: dict[str, Any]) -> None:
        with self._answered:
            self._replies[message["id"]] = message.get("result", {})
            self._answered.notify_all()
