"""How many may wait for an answer at once, at the ASGI edge."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from apps.common.pools import Message, Receive, Scope, Send, refuse
from apps.integrations import waiting
from apps.integrations.waiting import MOST_WAITING, Waiting


async def status(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"data":{"agentStatus":"running"}}'})


class Caller:
    def __init__(self, room: Waiting, token: str, query: bytes = b"wait=60") -> None:
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/api/cards/1/status",
            "query_string": query,
            "headers": [(b"authorization", token.encode())],
        }
        self.task = asyncio.create_task(room(scope, self.receive, self.send))

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def leave(self) -> None:
        self.gone.set()
        await self.task

    def refusal(self) -> tuple[int, str]:
        return self.messages[0]["status"], json.loads(self.messages[1]["body"])["error"]["code"]


@pytest.fixture(autouse=True)
def _silence(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def bell(card_id: int) -> AsyncIterator[asyncio.Event]:
        yield asyncio.Event()

    monkeypatch.setattr(waiting, "_bell", bell)


async def test_the_five_hundred_and_first_is_told_to_come_later() -> None:
    room = Waiting(status)
    callers = [Caller(room, f"Bearer kba_{number // 4}") for number in range(MOST_WAITING)]
    await asyncio.sleep(0)
    late = Caller(room, "Bearer kba_late")
    await late.task
    assert late.refusal() == (503, "busy")
    assert (b"retry-after", b"1") in late.messages[0]["headers"]
    greedy = Caller(room, "bearer  kba_0 ")
    await greedy.task
    assert greedy.refusal() == (429, "rate_limited")

    await callers.pop().leave()
    let_in = Caller(room, "Bearer kba_late")
    await asyncio.sleep(0)
    assert not let_in.task.done()
    for caller in (*callers, let_in):
        await caller.leave()
    again = Caller(room, "Bearer kba_late")
    await asyncio.sleep(0)
    assert not again.task.done()
    await again.leave()


@pytest.mark.parametrize(
    "wait", ["60", " 60 ", "+60", "60.0", "9999999999", "0060", "\uff19", "60&wait=30", "x&wait=30"]
)
async def test_whatever_the_view_takes_for_seconds_is_waited_for(wait: str) -> None:
    query = f"wait={quote(wait, safe='&=')}&known=running"
    caller = Caller(Waiting(status), "Bearer kba_x", query.encode())
    await asyncio.sleep(0)
    assert not caller.task.done()
    await caller.leave()


@pytest.mark.parametrize(
    "query", ["wait=x", "wait=", "wait=-1", "wait=1e1", "wait=0", "wait=30&wait=x", "known=running"]
)
async def test_whatever_is_no_time_is_left_to_the_view(query: str) -> None:
    caller = Caller(Waiting(status), "Bearer kba_x", query.encode())
    await asyncio.wait_for(caller.task, 5)
    assert caller.messages[0]["status"] == 200


async def test_whoever_is_not_let_in_takes_no_place() -> None:
    refusing = asyncio.Event()

    async def view(scope: Scope, receive: Receive, send: Send) -> None:
        if b"rubbish" in dict(scope["headers"])[b"authorization"]:
            await refusing.wait()
            await refuse(send, 401, "unauthenticated", "This token is not valid, or no longer.")
        else:
            await status(scope, receive, send)

    room = Waiting(view)
    strangers = [Caller(room, f"Bearer kba_rubbish{each}") for each in range(MOST_WAITING)]
    await asyncio.sleep(0)
    known = Caller(room, "Bearer kba_good")
    await asyncio.sleep(0)
    assert not known.task.done()
    refusing.set()
    for each in strangers:
        await each.task
        assert each.refusal() == (401, "unauthenticated")
    await known.leave()


async def test_whoever_is_no_tokens_bearer_is_counted_by_address() -> None:
    room = Waiting(status)
    callers = [Caller(room, f"Bearer {number}") for number in range(4)]
    await asyncio.sleep(0)
    late = Caller(room, "Bearer 5")
    await late.task
    assert late.refusal() == (429, "rate_limited")
    for caller in callers:
        await caller.leave()


async def test_whoever_loses_the_card_without_a_sound_waits_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "LOOK_AGAIN_S", 0.02)
    sees_it = True

    async def view(scope: Scope, receive: Receive, send: Send) -> None:
        if sees_it:
            await status(scope, receive, send)
        else:
            await refuse(send, 404, "not_found", "There is nothing here that you may see.")

    caller = Caller(Waiting(view), "Bearer x")
    await asyncio.sleep(0.1)
    assert not caller.task.done()
    sees_it = False
    await asyncio.wait_for(caller.task, 5)
    assert caller.refusal() == (404, "not_found")
