"""The worker's loop over a kind of run whose table the test keeps in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from apps.runs.kinds import Claim, Handle, Surroundings
from apps.runs.worker import Loop

pytestmark = pytest.mark.django_db(transaction=True)

ENDS_WITHIN_S = 0.5


class OneRun:
    """One row, and how many work on it at once."""

    name = "run"

    def __init__(self) -> None:
        self.owner: str | None = None
        self.fence = 0
        self.at_work = self.most_at_work = 0

    def fail_over(self) -> None:
        """To a server that never heard of the claim."""
        self.owner, self.fence = None, 0

    def claim(self, worker_id: str, host_id: str, *, closing: bool) -> Claim | None:
        if self.owner is not None:
            return None
        self.owner, self.fence = worker_id, self.fence + 1
        return Claim(self.name, 1, self.fence, host_id, worker_id)

    def owned(self, worker_id: str) -> dict[int, tuple[int, bool]]:
        return {1: (self.fence, False)} if self.owner == worker_id else {}

    def release(self, claim: Claim) -> None:
        if claim.fence == self.fence:
            self.owner = None

    def interrupt(self, claim: Claim) -> None:
        pass

    def nobody(self, *args: Any) -> set[Any]:
        return set()

    news = owners = hosts = nobody

    async def run(self, handle: Handle, around: Surroundings) -> None:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        ends = [asyncio.ensure_future(each.wait()) for each in (handle.lost, handle.stop)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(ENDS_WITHIN_S)
        self.at_work -= 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_run_whose_claim_the_database_forgot_ends_before_it_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = OneRun()
    monkeypatch.setattr("apps.runs.worker.kinds", lambda: [kind])
    monkeypatch.setattr("apps.runs.worker.due_jobs", list)

    async def act() -> None:
        loop = Loop(None)
        main = asyncio.create_task(loop.main())
        await until(lambda: kind.at_work == 1)
        kind.fail_over()
        loop.wake.set()
        await until(lambda: kind.owner is not None)
        await asyncio.sleep(2 * ENDS_WITHIN_S)
        await until(lambda: kind.at_work == 1)
        assert kind.most_at_work == 1
        # What the first still wrote, it did not write in the second's name.
        assert kind.fence == 2
        loop.stopping.set()
        await main

    asyncio.run(act())


class InAPlace(OneRun):
    """It has a place for itself, and ends at once; nothing else is claimed."""

    def __init__(self, goes_wrong: str) -> None:
        super().__init__()
        self.goes_wrong = goes_wrong
        self.has_place = False

    def claim(self, worker_id: str, host_id: str, *, closing: bool) -> Claim | None:
        return super().claim(worker_id, host_id, closing=closing) if self.fence == 0 else None

    async def run(self, handle: Handle, around: Surroundings) -> None:
        self.has_place = True
        handle.give_back = self.give_back

    def sweep(self, *args: Any, **named: Any) -> list[int]:
        self.once("looking for its processes")
        return [4711] if self.goes_wrong == "saying that one is left" else []

    def say(self, claim: Claim, text: str) -> None:
        self.once("saying that one is left")

    def give_back(self) -> None:
        self.once("giving it back")
        self.has_place = False

    def once(self, what: str) -> None:
        if self.goes_wrong == what:
            self.goes_wrong = ""
            raise RuntimeError(what)


@pytest.mark.parametrize(
    "what", ["looking for its processes", "saying that one is left", "giving it back"]
)
def test_a_run_that_ended_gives_its_place_back_although_something_went_wrong_at_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    kind = InAPlace(what)
    monkeypatch.setattr("apps.runs.worker.sweeping.sweep_run", kind.sweep)
    monkeypatch.setattr("apps.runs.worker.kinds", lambda: [kind])
    monkeypatch.setattr("apps.runs.worker.due_jobs", list)
    monkeypatch.setattr("apps.runs.worker.TICK_S", 0.1)

    async def act() -> None:
        loop = Loop(None)
        main = asyncio.create_task(loop.main())
        await until(lambda: kind.fence == 1 and kind.owner is None)
        loop.stopping.set()
        await main

    asyncio.run(act())
    assert not kind.has_place
    assert f"RuntimeError: {what}" in caplog.text
