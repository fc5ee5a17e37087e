"""Who runs a script, and what becomes of it when a worker or a host is gone: as the loop asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import connection
from django.utils import timezone

from apps.accounts.models import User
from apps.events.models import StoredEvent
from apps.projects.models import Project
from apps.runs.kinds import Claim, Handle
from apps.runs.models import Worker
from apps.runs.sink import Sink
from apps.scripts import attempts
from apps.scripts.claims import ScriptKind
from apps.scripts.models import Script, ScriptRun
from apps.scripts.running import run_script
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

KIND = ScriptKind()
T = TypeVar("T")


@pytest.fixture
def script(project: Project) -> Script:
    # Somebody lives, or that would be what a run is said to wait for.
    Worker.objects.create(id="alive", host_id="elsewhere", pid=1)
    return factories.make_script(project)


class Person:
    """Bob, and what he sees of the script."""

    def __init__(self, script: Script, bob: User) -> None:
        self.api = Api(bob)
        self.scripts = f"/api/projects/{script.project_id}/scripts"
        self.url = f"{self.scripts}/{script.pk}"

    def run(self, status: int = 200) -> Any:
        return self.api.post(f"{self.url}/run", status=status)

    def cancel(self, status: int = 200) -> Any:
        return self.api.post(f"{self.url}/cancel", status=status)

    @property
    def sees(self) -> Any:
        (found,) = self.api.get(f"{self.scripts}/status")
        return found


@pytest.fixture
def person(script: Script, bob: User) -> Person:
    return Person(script, bob)


def claim(worker: str = "w1", host: str = "here", *, closing: bool = False) -> Claim | None:
    return KIND.claim(worker, host, closing=closing)


def claimed(worker: str = "w1") -> Claim:
    found = claim(worker)
    assert found is not None
    return found


def taken_over(lost: Claim, worker: str = "w2") -> Claim:
    found = KIND.take_over(lost.run_id, dead=lost.worker_id, worker_id=worker, at=timezone.now())
    assert found is not None
    return found


def test_of_many_starts_at_once_one_runs_and_the_others_are_refused(
    script: Script, bob: User
) -> None:
    def start() -> int:
        person = Person(script, bob)
        person.api.request("POST", f"{person.url}/run", status=None)
        status: int = person.api.response.status_code
        return status

    assert sorted(at_once([start] * 6)) == [200] + [409] * 5
    assert ScriptRun.objects.count() == 1


def test_of_many_workers_one_gets_the_run(person: Person) -> None:
    person.run()
    found = at_once([lambda name=f"w{n}": claim(name) for n in range(6)])
    assert len([each for each in found if each is not None]) == 1


def test_a_run_belongs_to_the_host_that_has_begun_it(person: Person) -> None:
    person.run()
    first = claimed()
    assert (KIND.hosts(), KIND.owners("here")) == ({"here"}, {"w1"})
    assert KIND.owned("w1") == {first.run_id: (first.fence, False)}
    person.cancel()
    assert KIND.owned("w1") == {first.run_id: (first.fence, True)}


def test_a_claim_that_came_to_nothing_is_queued_again(person: Person) -> None:
    person.run()
    first = claimed()
    second = taken_over(first)
    assert second.fence == first.fence + 1
    assert attempts_refuse(first)
    KIND.release(second)
    assert (person.sees["status"], person.sees["startedAt"]) == ("running", None)
    again = claimed("w3")
    assert attempts.begin(again)


def attempts_refuse(stale: Claim) -> bool:
    """Whether everything that a stale owner might write is refused."""
    for write in (
        lambda: attempts.begin(stale),
        lambda: attempts.ended(stale, 0, stopped=False),
        lambda: attempts.failed(stale, "internal", "x"),
    ):
        with pytest.raises(attempts.NotOurs):
            write()
    before = list(ScriptRun.objects.values())
    KIND.release(stale)
    KIND.interrupt(stale)
    KIND.fail(stale, "internal", "x")
    KIND.say(stale, "x")
    return list(ScriptRun.objects.values()) == before


def test_what_has_begun_is_never_run_again(person: Person) -> None:
    person.run()
    first = claimed()
    attempts.begin(first)
    second = taken_over(first)
    assert person.sees["status"] == "running"
    assert "worker" in person.sees["statusText"]
    assert attempts_refuse(first)
    KIND.release(second)
    assert person.sees["status"] == "failed"
    assert person.sees["error"]["code"] == "worker_died"
    assert claim("w3") is None
    person.run()
    assert claim("w3") is not None


def test_a_run_that_was_to_be_cancelled_is_cancelled_whoever_ends_it(person: Person) -> None:
    person.run()
    first = claimed()
    person.cancel()
    assert not attempts.begin(first)
    assert person.sees["status"] == "cancelled"
    KIND.release(first)
    person.run()
    second = claimed()
    attempts.begin(second)
    assert person.cancel() == person.cancel()
    KIND.release(taken_over(second))
    assert person.sees["status"] == "cancelled"
    person.cancel(409)


def test_the_runs_of_a_host_that_is_gone_fail_and_say_so(person: Person) -> None:
    person.run()
    first = claimed()
    attempts.begin(first)
    KIND.abandon("elsewhere")
    assert person.sees["status"] == "running"
    KIND.abandon("here")
    assert person.sees["error"]["code"] == "host_gone"
    assert KIND.hosts() == set()
    assert attempts_refuse(first)


def test_nothing_starts_on_a_full_disk_nor_beside_what_is_left_of_the_last_run(
    person: Person,
) -> None:
    person.run()
    assert claim(closing=True) is None
    assert "1 GB" in person.sees["statusText"]
    events = StoredEvent.objects.count()
    assert claim(closing=True) is None
    assert StoredEvent.objects.count() == events
    first = claimed()
    attempts.begin(first)
    attempts.ended(first, 0, stopped=False)
    KIND.say(first, "Process 1 can't be ended.")
    assert person.sees["statusText"] == "Process 1 can't be ended."
    person.run()
    assert claim("w2") is None
    assert "the run before" in person.sees["statusText"]
    KIND.release(first)
    assert claim("w2") is not None


def test_a_run_without_its_script_is_removed_by_who_owns_it(person: Person, script: Script) -> None:
    person.run()
    first = claimed()
    attempts.begin(first)
    person.api.delete(person.url)
    assert KIND.owned("w1") == {first.run_id: (first.fence, True)}
    told = StoredEvent.objects.count()
    attempts.ended(first, -15, stopped=False)
    KIND.release(first)
    assert not ScriptRun.objects.exists()
    assert StoredEvent.objects.count() == told


def test_a_run_that_waits_goes_with_its_script(person: Person) -> None:
    person.run()
    person.api.delete(person.url)
    assert claim() is None
    assert not ScriptRun.objects.exists()


class Around:
    """What the loop offers to a run; `meanwhile` happens while it gets its directory ready."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.sink = Sink()
        self.meanwhile = meanwhile

    async def database(self, function: Callable[[], T]) -> T:
        def call() -> T:
            try:
                return function()
            finally:
                connection.close()

        return await asyncio.to_thread(call)

    async def disk(self, function: Callable[[], T]) -> T:
        found = await self.database(function)
        await self.once()
        return found

    async def once(self) -> None:
        happens, self.meanwhile = self.meanwhile, lambda: None
        await Around.database(self, happens)

    async def sweep(self, claim: Claim, *, below_fence: int | None = None) -> list[int]:
        return []


@pytest.fixture
def mark(project: Project) -> Path:
    """What the script makes."""
    ran = Path(project.path) / "ran"
    Script.objects.update(command="touch ran")
    return ran


def test_a_worker_that_was_replaced_while_it_prepared_a_run_does_not_start_it(
    person: Person, mark: Path
) -> None:
    person.run()
    handle = Handle(claimed())
    asyncio.run(run_script(handle, Around(lambda: taken_over(handle.claim))))
    assert handle.lost.is_set()
    assert not mark.exists()


def test_a_server_that_stops_leaves_a_run_that_has_not_begun_to_the_next_one(
    person: Person, mark: Path
) -> None:
    person.run()
    handle = Handle(claimed())
    asyncio.run(run_script(handle, Around(handle.stop.set)))
    KIND.release(handle.claim)
    assert not mark.exists()
    assert person.sees["status"] == "running"
    assert attempts.begin(claimed("w2"))


class AroundTheStart(Around):
    """`meanwhile` happens when the run has just begun, and the database answers late."""

    async def database(self, function: Callable[[], T]) -> T:
        found = await super().database(function)
        if await super().database(self._runs):
            await self.once()
        return found

    async def disk(self, function: Callable[[], T]) -> T:
        return await self.database(function)

    def _runs(self) -> bool:
        return ScriptRun.objects.filter(state="running").exists()


@pytest.mark.parametrize("what", ["cancelled", "replaced", "stopped"])
def test_a_run_that_has_just_begun_when_it_is_not_to_be_any_more_starts_nothing(
    person: Person, mark: Path, what: str
) -> None:
    person.run()
    handle = Handle(claimed())

    def meanwhile() -> None:
        if what == "cancelled":
            person.cancel()
            handle.cancel.set()
        elif what == "replaced":
            KIND.release(taken_over(handle.claim))
            handle.lost.set()
        else:
            handle.stop.set()

    asyncio.run(run_script(handle, AroundTheStart(meanwhile)))
    KIND.release(handle.claim)
    assert not mark.exists()
    sees = person.sees
    assert (sees["status"], (sees["error"] or {}).get("code")) == {
        "cancelled": ("cancelled", None),
        "replaced": ("failed", "worker_died"),
        "stopped": ("idle", "server_stopped"),
    }[what]
