"""A server's side of ASGI: requests put to an application without a socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code; asserts that the whole answer is in the error format."""
        assert self.headers["content-type"] == "application/json"
        body = json.loads(self.body)
        assert set(body) == {"error"}
        assert body["error"]["message"]
        return str(body["error"]["code"])


def scope_of(
    method: str, path: str, *, query: str = "", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    given = {"host": "localhost:37100"} | (headers or {})
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": re.sub("%([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "/elsewhere",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 37100),
        "scheme": "http",
    }


async def call(
    application: Any,
    method: str = "GET",
    path: str = "/api/health",
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    body: Iterable[bytes] = (b"",),
) -> Reply:
    """One request through an ASGI application, as a server would put it."""
    scope = scope_of(method, path, query=query, headers=headers)
    chunks = list(body)
    incoming = [
        {"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1}
        for i, chunk in enumerate(chunks)
    ]

    async def receive() -> Any:
        return incoming.pop(0) if incoming else await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    assert [m["type"] for m in sent[:1]] == ["http.response.start"]
    assert not sent[-1].get("more_body")
    names = [name.decode() for name, _ in sent[0]["headers"]]
    assert all(name == name.lower() for name in names)
    return Reply(
        sent[0]["status"],
        {name.decode(): value.decode() for name, value in sent[0]["headers"]},
        b"".join(m["body"] for m in sent[1:]),
    )
