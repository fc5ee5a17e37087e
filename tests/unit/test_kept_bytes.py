from __future__ import annotations

from typing import Any

from apps.common.kept import KeptAnswers
from apps.common.pools import UNDER_WAY
from tests.asgi import call


async def test_a_long_address_counts_among_the_bytes_that_are_kept() -> None:
    computed: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        computed.append(scope["query_string"])
        scope[UNDER_WAY].keepable = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    kept = KeptAnswers(application, lambda: (1, 1), limit=100_000)
    asked = [f"x={number}{'x' * 15_000}" for number in range(10)]
    for query in [*asked, asked[-1]]:
        await call(kept, query=query)
    assert len(computed) == 10
    await call(kept, query=asked[0])
    await call(kept, path="/api/" + "x" * 95_000)
    await call(kept, query=asked[-1])
    assert len(computed) == 13
