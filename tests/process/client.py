"""A person's JSON client over one kept-open connection."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

# Servers close what is idle for some seconds; a POST must not be the one that finds out.
IDLE_S = 2.0


class Refused(AssertionError):
    """The server answered with another status than the test expects."""

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        super().__init__(f"{method} {path} → {status}: {body}")
        self.status = status
        self.body = body
        error = body.get("error") if isinstance(body, dict) else None
        self.code = error.get("code") if isinstance(error, dict) else None
        self.message = error.get("message") if isinstance(error, dict) else None


class Client:
    """`patience`: for how long a request goes on trying while no server answers; a GET alone is repeated."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.port = port
        self.token = token
        self.patience = 15.0
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.request("POST", path, body)

    def put(self, path: str, body: Any = None) -> Any:
        return self.request("PUT", path, body)

    def patch(self, path: str, body: Any = None) -> Any:
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", path)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What is in `data`; raises Refused on any status that is no success."""
        status, answer = self.ask(method, path, body)
        if not 200 <= status < 300:
            raise Refused(method, path, status, answer)
        return None if answer is None else answer["data"]

    def refusal(self, method: str, path: str, body: Any = None) -> Refused:
        """For tests of what is not allowed: the refusal, which must come."""
        try:
            answer = self.request(method, path, body)
        except Refused as refused:
            return refused
        raise AssertionError(f"{method} {path} was allowed: {answer}")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        deadline = time.monotonic() + self.patience
        while True:
            connection = self._connection()
            try:
                return self._once(connection, method, path, body)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                never_arrived = isinstance(error, ConnectionRefusedError)
                if (method != "GET" and not never_arrived) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _once(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, f"/api{path}", body=content, headers=headers)
        response = connection.getresponse()
        text = response.read()
        try:
            return response.status, json.loads(text) if text else None
        except ValueError:
            return response.status, text.decode(errors="replace")

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        now = time.monotonic()
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self._local.connection = connection
            self._open.append(connection)
        elif now - self._local.used > IDLE_S:
            connection.close()
        self._local.used = now
        return connection

    def close(self) -> None:
        """Also right before a new server answers on the port: the next request connects anew."""
        for connection in self._open:
            connection.close()
