"""An edge before a view of the test's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from apps.common.edge import LARGEST_BODY, Edge, Reach
from apps.common.pools import ThreadPool

REACH = Reach.of(
    host="0.0.0.0",
    public_url="https://board.example.org",
    extra=["extra.example.org"],
    origins=["https://app.example.net"],
)


def wsgi_answering(response: Callable[[dict[str, Any]], Any]) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        answer = response(environ)
        start_response(f"{answer.status_code} X", list(answer.items()))
        return answer

    return application


def behind_edge(response: Callable[[dict[str, Any]], Any], **pool: Any) -> Edge:
    async def websocket(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    options = {"threads": 2, "limit": 10, "downloads": 32} | pool
    http = ThreadPool(wsgi_answering(response), **options)
    return Edge(http, websocket, REACH, larger=((re.compile("^/big$"), LARGEST_BODY * 2),))
