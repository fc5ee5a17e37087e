from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.http import HttpResponse

from apps.common.edge import Edge
from apps.realtime import callers
from apps.realtime.rows import RowThread
from tests.api.edges import behind_edge
from tests.asgi import call


@pytest.fixture
async def blocked() -> AsyncIterator[tuple[Callable[..., Edge], threading.Event]]:
    go = threading.Event()

    def response(environ: dict[str, Any]) -> HttpResponse:
        go.wait(10)
        return HttpResponse(b"done")

    yield lambda **pool: behind_edge(response, **pool), go
    go.set()


async def test_a_full_pool_says_that_it_is_busy(blocked: Any) -> None:
    make, go = blocked
    edge = make(threads=2, limit=2)
    running = [asyncio.create_task(call(edge)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "busy", "1")
    go.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [200, 200]
    assert (await call(edge)).status == 200


async def test_one_caller_cannot_take_the_whole_pool(blocked: Any) -> None:
    make, go = blocked

    async def by_header(scope: Any) -> bytes:
        return bytes(dict(scope["headers"]).get(b"authorization", b""))

    edge = make(threads=4, limit=4, per_caller=2, caller_of=by_header)
    alice, bob = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}
    running = [asyncio.create_task(call(edge, headers=alice)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge, headers=alice)
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "rate_limited", "1")
    running.append(asyncio.create_task(call(edge, headers=bob)))
    await asyncio.sleep(0.05)
    go.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [200] * 3
    assert (await call(edge, headers=alice)).status == 200


async def test_whoever_is_still_looked_up_takes_a_place_too(blocked: Any) -> None:
    make, go = blocked
    found = asyncio.Event()

    async def slowly(scope: Any) -> bytes:
        await found.wait()
        return b"alice"

    edge = make(threads=2, limit=2, per_caller=1, caller_of=slowly)
    asked = [asyncio.create_task(call(edge)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await asyncio.wait_for(call(edge), 2)
    assert (reply.status, reply.code) == (503, "busy")
    found.set()
    go.set()
    assert sorted(reply.status for reply in await asyncio.gather(*asked)) == [200, 429]
    assert (await call(edge)).status == 200


async def test_a_database_that_hangs_holds_nobody_up_who_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on, thread = threading.Event(), RowThread("looking")
    monkeypatch.setattr(callers, "_thread", thread)
    monkeypatch.setattr(callers, "user_for_token", lambda token: goes_on.wait(5))
    scope = {"headers": [(b"authorization", b"Bearer kba_" + b"x" * 40)], "client": ("10.0.0.7", 5)}
    began = time.monotonic()
    try:
        found = await asyncio.gather(*(callers.identified(scope) for _ in range(20)))
    finally:
        goes_on.set()
        thread.close()
    assert found == [b"10.0.0.7"] * 20
    assert time.monotonic() - began < 3


async def test_a_thread_counts_until_it_is_done_though_its_client_has_gone(blocked: Any) -> None:
    make, go = blocked
    edge = make(threads=1, limit=1)
    task = asyncio.create_task(call(edge))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await call(edge)).code == "busy"
    go.set()
    for _ in range(100):
        await asyncio.sleep(0.01)
        if (await call(edge)).status == 200:
            return
    raise AssertionError("the thread was never given back")
