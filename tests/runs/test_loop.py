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
