"""Answers that are sent in pieces, to clients that take nothing of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from django.http import FileResponse, HttpResponse

from apps.common.edge import Edge
from apps.common.pools import Message
from tests.api.edges import behind_edge
from tests.asgi import call, scope_of

Download = Callable[..., "asyncio.Task[None]"]


@pytest.fixture
def files() -> list[BytesIO]:
    return []


@pytest.fixture
async def download() -> AsyncIterator[Download]:
    """Asks for a file, and takes nothing of it."""
    started: list[asyncio.Task[None]] = []

    async def send(message: Message) -> None:
        await asyncio.Event().wait()

    def begin(edge: Edge, **headers: str) -> asyncio.Task[None]:
        incoming: list[Message] = [{"type": "http.request"}]

        async def receive() -> Message:
            return incoming.pop() if incoming else await asyncio.Future()

        started.append(
            asyncio.create_task(edge(scope_of("GET", "/file", headers=headers), receive, send))
        )
        return started[-1]

    yield begin
    for task in started:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def make(files: list[BytesIO], **pool: Any) -> Edge:
    def response(environ: dict[str, Any]) -> Any:
        if environ["PATH_INFO"] != "/file":
            return HttpResponse(b"done")
        files.append(BytesIO(b"x" * 10))
        return FileResponse(files[-1])

    async def by_header(scope: Any) -> bytes:
        return bytes(dict(scope["headers"]).get(b"authorization", b""))

    return behind_edge(response, caller_of=by_header, **pool)


async def test_a_download_holds_no_place_of_its_pool(
    files: list[BytesIO], download: Download
) -> None:
    edge = make(files, threads=1, limit=1, per_caller=1)
    download(edge)
    await asyncio.sleep(0.05)
    assert (await asyncio.wait_for(call(edge), 2)).status == 200


async def test_one_caller_cannot_take_all_downloads(
    files: list[BytesIO], download: Download
) -> None:
    edge = make(files, per_caller=2, downloads=3)
    running = [download(edge, authorization="Bearer a") for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge, path="/file", headers={"authorization": "Bearer a"})
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "rate_limited", "30")
    assert (await call(edge, path="/file", headers={"authorization": "Bearer b"})).status == 200
    running[0].cancel()
    await asyncio.sleep(0.05)
    assert (await call(edge, path="/file", headers={"authorization": "Bearer a"})).status == 200


async def test_there_are_only_so_many_downloads_at_once(
    files: list[BytesIO], download: Download
) -> None:
    edge = make(files, downloads=2)
    running = [download(edge) for _ in range(2)]
    await asyncio.sleep(0.05)
    reply = await call(edge, path="/file")
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "busy", "30")
    running[0].cancel()
    await asyncio.sleep(0.05)
    assert (await call(edge, path="/file")).status == 200


async def test_a_download_that_is_refused_or_given_up_leaves_no_file_open(
    files: list[BytesIO], download: Download
) -> None:
    edge = make(files, downloads=1)
    running = download(edge)
    await asyncio.sleep(0.05)
    assert (await call(edge, path="/file")).code == "busy"
    assert [file.closed for file in files] == [False, True]
    running.cancel()
    await asyncio.sleep(0.05)
    assert all(file.closed for file in files)
