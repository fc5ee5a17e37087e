"""`?wait=`: answering later, without a thread or a connection to the database held meanwhile.

What is asked of Django is the answer as it stands, by the caller's own request: so that nobody waits for what
he may not see, and an access that is taken away ends the wait. In between a bell of the hub is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, InterfaceError
from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from apps.cards.selectors import project_of
from apps.common.ids import parse_id, public_id
from apps.common.pools import (
    UNDER_WAY,
    Application,
    Message,
    Receive,
    Scope,
    Send,
    departure,
    refuse,
)
from apps.common.serializers import checked
from apps.integrations.serializers import LONGEST_WAIT_S, StatusQuery
from apps.realtime.callers import answered
from apps.realtime.hub import current_hub

MOST_WAITING = 500
MOST_PER_CALLER = 4
# Nothing rings when somebody leaves an organization or loses a token.
LOOK_AGAIN_S = 10.0
# A busy card must not make each of its events a request.
_PAUSE_S = 0.05
_STATUS = re.compile(r"^/api/cards/((?:card_)?[0-9]{1,18})/status$")


class _Full(Exception):
    """Status, code and message of the refusal."""


class Waiting:
    """An ASGI application around another, which answers at once whatever is asked of it."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._waiting = 0
        self._callers: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _STATUS.match(scope["path"])
        seconds, known = _asked(scope["query_string"])
        if path is None or not seconds or scope["method"] != "GET":
            await self._application(scope, receive, send)
            return
        try:
            await self._wait(scope, receive, send, parse_id("card", path[1]), seconds, known)
        except _Full as full:
            await refuse(send, *full.args)

    @contextlib.contextmanager
    def _place(self, scope: Scope) -> Iterator[None]:
        """Only for whoever may see what is waited for: nobody else takes a place, or counts."""
        caller = answered(scope)
        if self._callers[caller] >= MOST_PER_CALLER:
            raise _Full(
                429,
                "rate_limited",
                f"You have {MOST_PER_CALLER} waiting requests under way. Wait for one of them.",
            )
        if self._waiting >= MOST_WAITING:
            raise _Full(503, "busy", "Too many are waiting here. Try again in a moment.")
        self._waiting += 1
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]

    async def _wait(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        card_id: int,
        seconds: float,
        known: str | None,
    ) -> None:
        until = time.monotonic() + seconds
        async with contextlib.AsyncExitStack() as stack:
            gone = await stack.enter_async_context(departure(receive))
            rung = await stack.enter_async_context(_bell(card_id))
            has_place = False
            while True:
                rung.clear()
                answer = await self._ask(scope)
                status = _agent_status(answer)
                known = status if known is None else known
                if status is None or status != known or time.monotonic() >= until:
                    break
                if not has_place:
                    stack.enter_context(self._place(scope))
                    has_place = True
                if not await _first(gone, rung, min(until - time.monotonic(), LOOK_AGAIN_S)):
                    return
                await asyncio.sleep(min(_PAUSE_S, max(0.0, until - time.monotonic())))
            if _has_condition(scope):
                answer = await self._ask(scope, conditional=True)
        for message in answer:
            await send(message)

    async def _ask(self, scope: Scope, *, conditional: bool = False) -> list[Message]:
        asked = dict(scope)
        # It is no answer to keep: whoever asks again wants to wait again.
        asked.pop(UNDER_WAY, None)
        if not conditional:
            asked["headers"] = [each for each in scope["headers"] if each[0] != b"if-none-match"]
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._application(asked, receive, send)
        return sent


def _asked(query: bytes) -> tuple[float, str | None]:
    """Seconds to wait, 0 for none or nonsense, which the view refuses; and the status that is known.

    Read as the view reads it: where one knew a number and the other didn't, a bot would ask without end.
    """
    if b"wait" not in query:
        return 0, None
    try:
        given = checked(StatusQuery, dict(QueryDict(query).items()))
    except (ValidationError, SuspiciousOperation):
        return 0, None
    known = given.get("known")
    # No status is null in the answer, and the empty text here.
    return min(given["wait"], LONGEST_WAIT_S), "" if known == "null" else known


def _has_condition(scope: Scope) -> bool:
    return any(name == b"if-none-match" for name, _ in scope["headers"])


def _agent_status(answer: list[Message]) -> str | None:
    """What it says, with the empty text for no status; None when it is no answer to wait on."""
    if not answer or answer[0].get("status") != 200:
        return None
    body: Any = json.loads(b"".join(message.get("body", b"") for message in answer))
    return body["data"]["agentStatus"] or ""


@contextlib.asynccontextmanager
async def _bell(card_id: int) -> AsyncIterator[asyncio.Event]:
    """Set when the card may have changed."""
    async with contextlib.AsyncExitStack() as stack:
        rung = asyncio.Event()
        # Without a database the answer that is asked for next says so.
        with contextlib.suppress(DatabaseError, InterfaceError):
            ringing = current_hub().bell(public_id("card", card_id), lambda: project_of(card_id))
            rung = (await stack.enter_async_context(ringing)).rung
        yield rung


async def _first(gone: asyncio.Task[None], rung: asyncio.Event, seconds: float) -> bool:
    """Wait for the bell or the time; False when the client has gone."""
    ringing = asyncio.create_task(rung.wait())
    try:
        await asyncio.wait(
            {gone, ringing}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        ringing.cancel()
    return not gone.done()
