"""Why a run of any kind waits, in words; each kind has reasons of its own besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apps.runs import leases
from apps.runs.models import Run, State

NO_WORKER = "no_worker"
HOST_AWAY = "host_away"
SENTENCES = {
    NO_WORKER: "No worker is running; it starts when one does (see manage.py doctor).",
    HOST_AWAY: "Starts when a worker of the host that has the files it works on is there again.",
    "disk_low": "Nothing is started while the data directory has less than 1 GB free; make room, and it"
    " starts by itself.",
}


def explain(runs: Iterable[Run]) -> None:
    """Where no worker lives, or none of their host, that is what they wait for.

    No row has changed, and none is saved here.
    """
    waiting = [run for run in runs if run.state in (State.QUEUED, State.INTERRUPTED)]
    if waiting and leases.none_seen():
        for run in waiting:
            run.queue_reason = NO_WORKER
    else:
        miss_hosts(waiting)


def miss_hosts(waiting: Sequence[Run]) -> None:
    """Of runs that wait: those that can go on only where no worker is. None is saved here."""
    bound = {run.host_id for run in waiting if run.host_id is not None}
    away = leases.away(bound)
    for run in waiting:
        if run.host_id in away:
            run.queue_reason = HOST_AWAY
