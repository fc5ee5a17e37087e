"""Which workers live. The lease belongs to the worker, not to each run.

A worker holds an flock on `<data>/workers/<id>` for life and raises `Worker.beat` every 3 s. It is dead when
its lock can be had (same host: proof at once), or when `beat` has stood still for 15 s of the observer's own
monotonic clock (wall clocks are never compared: laptops sleep, clocks step). The latter counts only in the
observer's own PID namespace: the processes of another container's runs could not be ended from here.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from apps.events.writing import turn
from apps.host.disk import Lock, is_locked, known_host_id, try_flock
from apps.host.proc import pid_namespace
from apps.runs.models import Worker

BEAT_EVERY_S = 3.0
DEAD_AFTER_S = 15.0
SILENT_AFTER_S = 3 * BEAT_EVERY_S


@dataclass
class Lease:
    worker_id: str
    host_id: str
    lock: Lock


def locks(data_dir: Path) -> Path:
    """Where each worker of the host has its lock file."""
    return data_dir / "workers"


def register(data_dir: Path, host_id: str, pid: int) -> Lease:
    """A new worker with its lock held; two can never have the same id."""
    worker_id = f"w{secrets.token_hex(8)}"
    directory = locks(data_dir)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = try_flock(directory / worker_id)
    if lock is None:
        raise RuntimeError("a new worker's lock is held by somebody else")
    try:
        with turn():
            Worker.objects.create(
                id=worker_id, host_id=host_id, pid=pid, pid_namespace=pid_namespace()
            )
    except BaseException:
        # It will be tried under another name; a row that was made all the same must not seem to live.
        lock.release()
        raise
    return Lease(worker_id, host_id, lock)


def beat(worker_id: str) -> bool:
    """Raise the worker's beat; False when its row is gone."""
    with turn():
        row = Worker.objects.filter(pk=worker_id)
        return row.update(beat=F("beat") + 1, beat_at=Now()) == 1


def sign_off(worker_id: str, data_dir: Path) -> None:
    """The row and its lock file go."""
    with turn():
        Worker.objects.filter(pk=worker_id).delete()
    (locks(data_dir) / worker_id).unlink(missing_ok=True)


def without_row(worker_ids: set[str]) -> list[str]:
    """Which of these names no worker bears."""
    if not worker_ids:
        return []
    known = set(Worker.objects.filter(pk__in=worker_ids).values_list("pk", flat=True))
    return sorted(worker_ids - known)


@dataclass
class Observer:
    """One worker's view of the others, by its own clock."""

    worker_id: str
    host_id: str
    data_dir: Path
    namespace: int | None = field(default_factory=pid_namespace)
    since: float = field(default_factory=time.monotonic)
    # When its own beat was last stored.
    beaten_at: float = field(default_factory=time.monotonic)
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    hosts: dict[str, tuple[frozenset[tuple[str, int]], float]] = field(default_factory=dict)
    looked_at: float = field(default_factory=time.monotonic)
    hosts_looked_at: float = field(default_factory=time.monotonic)

    def database_was_gone(self) -> None:
        """After an outage nobody could beat: everybody gets the full time again."""
        self.since = time.monotonic()
        self.seen.clear()
        self.hosts.clear()

    def dead(self) -> list[str]:
        """Ids of workers of this host that are dead. One query, and one flock for each of them."""
        rows = list(
            Worker.objects.filter(host_id=self.host_id)
            .exclude(pk=self.worker_id)
            .values_list("id", "beat", "pid_namespace")
        )
        now = self._look()
        return [row[0] for row in rows if self._is_dead(*row, now)]

    def is_still_dead(self, worker_id: str) -> bool:
        """For whatever acts on a death: one that had to wait for the database may be none any more."""
        rows = Worker.objects.filter(pk=worker_id).values_list("id", "beat", "pid_namespace")
        row = rows.first()
        now = self._look()
        return row is None or self._is_dead(*row, now)

    def _look(self) -> float:
        """The time of a look at beats, which may show that others could not beat meanwhile."""
        # Counted from answer to answer: a try that the database refused has seen nothing.
        now = time.monotonic()
        # This process itself stood still (a paused container, a sleeping laptop), or the database answers but
        # stores nothing (a full disk, a standby): so it may be for the others.
        if now - self.looked_at > DEAD_AFTER_S / 3 or now - self.beaten_at > 2 * BEAT_EVERY_S:
            self.database_was_gone()
        self.looked_at = now
        return now

    def _is_dead(self, worker_id: str, count: int, namespace: int | None, now: float) -> bool:
        if self._lock_is_free(worker_id):
            return True
        if namespace != self.namespace:
            return False
        last = self.seen.get(worker_id)
        if last is None or last[0] != count:
            self.seen[worker_id] = (count, now)
            return False
        return now - last[1] >= DEAD_AFTER_S and now - self.since >= DEAD_AFTER_S

    def gone_hosts(self, hosts: set[str]) -> list[str]:
        """Which of these other hosts have shown no sign of a worker for KANBAN_HOST_GONE_AFTER seconds.

        They are all that anybody waits for: of the others it forgets how long they have been silent.
        """
        # Nobody looks at those: an entry that stayed would count hours in which workers came and went.
        for host in self.hosts.keys() - hosts:
            self.hosts.pop(host, None)
        return self._silent_hosts(hosts)

    def is_still_gone(self, host_id: str) -> bool:
        """For whatever acts on it, like `is_still_dead`."""
        return bool(self._silent_hosts({host_id}))

    def _silent_hosts(self, hosts: set[str]) -> list[str]:
        beats: dict[str, set[tuple[str, int]]] = {host: set() for host in hosts - {self.host_id}}
        rows = Worker.objects.filter(host_id__in=beats).values_list("host_id", "id", "beat")
        for host, worker_id, count in rows:
            beats[host].add((worker_id, count))
        now = time.monotonic()
        if (
            now - self.hosts_looked_at > settings.HOST_GONE_AFTER_S / 2
            or now - self.beaten_at > 2 * BEAT_EVERY_S
        ):
            # This process stood still, or the database did: nobody could be seen.
            self.hosts.clear()
        self.hosts_looked_at = now
        gone = []
        for host, found in beats.items():
            last = self.hosts.get(host)
            if last is None or last[0] != found:
                self.hosts[host] = (frozenset(found), now)
            elif now - last[1] >= settings.HOST_GONE_AFTER_S:
                gone.append(host)
        return gone

    def forget_host(self, host_id: str) -> None:
        """Its runs have ended; a worker of it that lives on after all signs on again."""
        if self.is_still_gone(host_id):
            with turn():
                Worker.objects.filter(host_id=host_id).delete()

    def _lock_is_free(self, worker_id: str) -> bool:
        path = locks(self.data_dir) / worker_id
        if not path.exists():
            return True
        lock = try_flock(path)
        if lock is None:
            return False
        lock.release()
        return True

    def forget(self, worker_id: str) -> None:
        """Its runs have all been taken over, unless it turned out to live."""
        if self.is_still_dead(worker_id):
            sign_off(worker_id, self.data_dir)
            self.seen.pop(worker_id, None)


_started = time.monotonic()


def none_seen() -> bool:
    """Whether no worker has shown itself for 15 s, counted from this process's start."""
    # Asked first: a database that doesn't answer must be found out by a young process too.
    alive = _beating(DEAD_AFTER_S).exists()
    return not alive and time.monotonic() - _started >= DEAD_AFTER_S


def silent(worker_ids: set[str]) -> set[str]:
    """For people only: which of these have given no sign of life for some seconds. They may still live."""
    if not worker_ids:
        return set()
    beating = _beating(SILENT_AFTER_S).filter(pk__in=worker_ids)
    return worker_ids - set(beating.values_list("pk", flat=True))


def away(host_ids: set[str]) -> set[str]:
    """For people only: on which of these hosts no worker is, or none but silent ones.

    The rows of a host that lost its power stay until it is given up.
    """
    if not host_ids:
        return set()
    beating = _beating(SILENT_AFTER_S).filter(host_id__in=host_ids)
    return host_ids - set(beating.values_list("host_id", flat=True))


def _beating(within_s: float) -> QuerySet[Worker]:
    """By the database's clock, which wrote the times: for people and health checks, never for a death."""
    return Worker.objects.filter(beat_at__gte=Now() - timedelta(seconds=within_s))


@dataclass(frozen=True)
class Sighting:
    pid: int
    silent: bool


def sightings(data_dir: Path) -> list[Sighting]:
    """Workers that live: of this host those that hold their locks, of others those that were heard of lately.

    Looks only.
    """
    here = known_host_id(data_dir)
    beating = set(_beating(SILENT_AFTER_S).values_list("pk", flat=True))
    heard_of = set(_beating(DEAD_AFTER_S).values_list("pk", flat=True))
    return [
        Sighting(pid, worker_id not in beating)
        for worker_id, host_id, pid in Worker.objects.values_list("id", "host_id", "pid")
        if (is_locked(locks(data_dir) / worker_id) if host_id == here else worker_id in heard_of)
    ]
