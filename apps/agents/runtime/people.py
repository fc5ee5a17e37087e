"""Between an agent's process and the people it asks.

A request is stored before anybody sees it, and its answer is marked as delivered before the reply leaves.
While it waits the process is only memory: after ten minutes it is parked, and the answer starts it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any

from django.conf import settings

from apps.agents import turns, waiting
from apps.agents.requests import Asked
from apps.agents.runtime import asking
from apps.agents.runtime.transcript import Transcript
from apps.runs.kinds import Handle, Surroundings

CANCELLED = {"outcome": "cancelled"}


class People:
    """`next` is set when the running turn is to end at once, `parked` when the process may go."""

    def __init__(
        self, handle: Handle, around: Surroundings, transcript: Transcript, mode: str
    ) -> None:
        self.handle = handle
        self.around = around
        self.transcript = transcript
        self.mode = mode
        self.next = asyncio.Event()
        self.parked = asyncio.Event()
        self._asking = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._since = 0.0

    @property
    def asked(self) -> bool:
        """Whether the agent waits for a person, or for us to ask one: its silence is no failure then."""
        return self._asking > 0

    async def permission(self, params: dict[str, Any]) -> dict[str, str]:
        """The outcome, as the protocol wants it."""
        options = asking.options_of(params)
        call = params.get("toolCall")
        is_plan = self.mode == "plan" and isinstance(call, dict) and call.get("kind") == asking.PLAN
        if self.mode == "unattended":
            return _selected(asking.allow(options))
        if not options:
            return CANCELLED
        asked = asking.permission(params, options, self.transcript.secrets, plan=is_plan)
        call_id = asked.body["toolCall"]["id"]
        self.transcript.awaited.add(call_id)
        answer = await self._ask(asked)
        if answer is None:
            return CANCELLED
        self.transcript.awaited.discard(call_id)
        if is_plan:
            self._plan_decided(answer)
        return _selected(asking.same_option(options, answer))

    def _plan_decided(self, answer: dict[str, Any]) -> None:
        if answer["granted"]:
            self.mode = answer["mode"]
        else:
            # Whatever the agent makes of a refusal, its turn is over.
            self.next.set()

    async def question(self, params: dict[str, Any]) -> dict[str, Any]:
        asked = asking.question(params, self.transcript.secrets)
        if asked is None:
            return {"action": "decline"}
        answer = await self._ask(asked)
        if answer is None:
            return {"action": "cancel"}
        if answer.get("declined"):
            return {"action": "decline"}
        return {"action": "accept", "content": answer["answers"]}

    async def _ask(self, asked: Asked) -> dict[str, Any] | None:
        """The stored answer; None when nobody will give one."""
        # From here on: in an outage of the database it lasts until anybody can be asked.
        self._asking += 1
        try:
            return await self._answer(asked)
        finally:
            self._asking -= 1
            self.transcript.restart_clocks()

    async def _answer(self, asked: Asked) -> dict[str, Any] | None:
        await self.transcript.feed.flushed()
        claim, turn_id = self.handle.claim, self.transcript.turn_id
        try:
            opened = await self.around.database(lambda: waiting.ask(claim, turn_id, asked))
        except turns.NotOurs:
            self.handle.lost.set()
            return None
        if opened is None:
            return None
        if opened.request_id is None:
            return opened.answer
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting[opened.request_id] = future
        # Somebody may have been faster than this line.
        self.handle.news.set()
        try:
            return await future
        finally:
            self._waiting.pop(opened.request_id, None)

    def withdraw(self) -> None:
        """Nobody answers any more: the agent must not wait."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    async def watch(self) -> None:
        """Runs beside a turn: carries answers to the process, and sees when it has waited for too long."""
        claim = self.handle.claim
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.handle.news.wait(), self._patience())
            self.handle.news.clear()
            ids = list(self._waiting)
            try:
                news = await self.around.database(partial(waiting.news, claim, ids))
                for request_id, answer in news.answers.items():
                    future = self._waiting.get(request_id)
                    if future is not None and not future.done():
                        future.set_result(answer)
                if news.send_now:
                    self.next.set()
                waited = time.monotonic() - self._since
                if (
                    self._waiting
                    and not news.answers
                    and waited >= settings.PARK_AFTER_S
                    and await self.around.database(lambda: waiting.park(claim))
                ):
                    self.parked.set()
            except turns.NotOurs:
                self.handle.lost.set()
                return

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        left = settings.PARK_AFTER_S - (time.monotonic() - self._since)
        return max(left, 1.0)


def _selected(option_id: str | None) -> dict[str, str]:
    if option_id is None:
        return CANCELLED
    return {"outcome": "selected", "optionId": option_id}
