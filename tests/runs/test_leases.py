"""Who takes whom for dead, with a clock that the test moves on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from apps.host.disk import try_flock
from apps.host.proc import pid_namespace
from apps.runs import leases
from apps.runs.leases import BEAT_EVERY_S, DEAD_AFTER_S, Observer
from apps.runs.models import Worker
from apps.runs.worker import Loop

pytestmark = pytest.mark.django_db(transaction=True)

HERE, ELSEWHERE = "here", "elsewhere"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


@pytest.fixture
def observer(clock: Clock, tmp_path: Path) -> Iterator[Observer]:
    """Beside a worker of its own host that holds its lock, and one of another host."""
    leases.locks(tmp_path).mkdir()
    lock = try_flock(leases.locks(tmp_path) / "w2")
    assert lock is not None
    Worker.objects.create(id="w2", host_id=HERE, pid=2, pid_namespace=pid_namespace())
    Worker.objects.create(id="w3", host_id=ELSEWHERE, pid=3)
    now = clock.now
    yield Observer(
        "w1",
        HERE,
        tmp_path,
        since=now,
        looked_at=now,
        hosts_looked_at=now,
        beaten_at=now,
    )
    lock.release()


def look_for(observer: Observer, clock: Clock, seconds: float, *, beats: bool) -> list[str]:
    """Every two seconds; what the last look found."""
    found: list[str] = []
    until = clock.now + seconds
    while clock.now < until:
        clock.now += 2
        if beats:
            observer.beaten_at = clock.now
        found = observer.dead() + observer.gone_hosts({ELSEWHERE})
    return found


def test_a_beat_that_stands_still_while_ones_own_rises_is_a_death(
    observer: Observer, clock: Clock
) -> None:
    assert look_for(observer, clock, DEAD_AFTER_S, beats=True) == []
    assert look_for(observer, clock, 2, beats=True) == ["w2"]
    assert "elsewhere" in look_for(observer, clock, settings.HOST_GONE_AFTER_S, beats=True)


def test_who_cannot_beat_takes_nobody_else_for_dead(observer: Observer, clock: Clock) -> None:
    """The database answers and stores nothing: a full disk, a standby that isn't promoted yet."""
    assert look_for(observer, clock, 2 * settings.HOST_GONE_AFTER_S, beats=False) == []
    # Nor at once when it stores again.
    assert look_for(observer, clock, DEAD_AFTER_S - 2 * BEAT_EVERY_S, beats=True) == []
    assert look_for(observer, clock, 2 * BEAT_EVERY_S + 2, beats=True) == ["w2"]


def test_who_cannot_beat_knows_a_death_by_its_lock(
    observer: Observer, clock: Clock, tmp_path: Path
) -> None:
    (leases.locks(tmp_path) / "w2").unlink()
    assert look_for(observer, clock, DEAD_AFTER_S, beats=False) == ["w2"]


def test_a_beat_that_stands_still_in_another_container_is_no_death(
    observer: Observer, clock: Clock, tmp_path: Path
) -> None:
    """Its agents may go on, and nobody here could end them. When it dies, they die with it."""
    Worker.objects.filter(pk="w2").update(pid_namespace=1)
    assert look_for(observer, clock, 3 * DEAD_AFTER_S, beats=True) == []
    (leases.locks(tmp_path) / "w2").unlink()
    assert look_for(observer, clock, 2, beats=True) == ["w2"]


def test_a_host_that_nobody_had_to_wait_for_meanwhile_has_its_whole_time_again(
    observer: Observer, clock: Clock
) -> None:
    """It was stopped in order when a card was to go on there, and is started anew hours later."""

    def look(hosts: set[str], seconds: float) -> list[str]:
        found: list[str] = []
        until = clock.now + seconds
        while clock.now < until:
            clock.now += settings.HOST_GONE_AFTER_S / 10
            observer.beaten_at = clock.now
            found = observer.gone_hosts(hosts)
        return found

    Worker.objects.filter(host_id=ELSEWHERE).delete()
    assert look({ELSEWHERE}, 1) == []
    assert look(set(), 10 * settings.HOST_GONE_AFTER_S) == []
    assert look({ELSEWHERE}, settings.HOST_GONE_AFTER_S) == []
    assert look({ELSEWHERE, "third"}, 1) == [ELSEWHERE]
    # Whoever acts on it asks for one of them; the other's time runs on.
    assert observer.is_still_gone(ELSEWHERE)
    assert set(look({ELSEWHERE, "third"}, settings.HOST_GONE_AFTER_S)) == {ELSEWHERE, "third"}


class Refused:
    """A kind of run of which the database stores nothing at first."""

    name = "run"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refused = self.stored = 0

    def _change(self, *args: Any, **kwargs: Any) -> None:
        if not self.refused:
            self.refused += 1
            # When it stores again, those that could not beat do so, too.
            self.clock.now += DEAD_AFTER_S
            for worker in Worker.objects.all():
                leases.beat(worker.pk)
            raise OperationalError("database or disk is full")
        self.stored += 1

    take_over = abandon = _change

    def hosts(self) -> set[str]:
        return {ELSEWHERE}


@pytest.mark.parametrize("what", ["worker", "host"])
def test_a_takeover_that_waited_out_an_outage_is_dropped_where_the_dead_beat_again(
    observer: Observer, clock: Clock, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    kind = Refused(clock)
    monkeypatch.setattr("apps.runs.worker.kinds", lambda: [kind])
    observer.dead()
    dead = look_for(observer, clock, settings.HOST_GONE_AFTER_S + 2, beats=True)
    assert dead == ["w2", ELSEWHERE]

    async def act() -> None:
        loop = Loop(None)
        loop.observer = observer
        loop.lease = SimpleNamespace(worker_id="w1")  # type: ignore[assignment]
        if what == "worker":
            await loop._take_over(kind, 1, "w2", timezone.now())  # type: ignore[arg-type]
            await loop.database(lambda: observer.forget("w2"))
        else:
            await loop._abandon(ELSEWHERE)

    asyncio.run(act())
    assert (kind.refused, kind.stored) == (1, 0)
    assert set(Worker.objects.values_list("pk", flat=True)) == {"w2", "w3"}
    assert (leases.locks(observer.data_dir) / "w2").exists()
