"""Why a run of any kind waits, in words; each kind has reasons of its own besides."""

from __future__ import annotations

from collections.abc import Iterable

from apps.runs import leases
from apps.runs.models import Run, State

NO_WORKER = "no_worker"
SENTENCES = {
    NO_WORKER: "No worker is running; it starts when one does (see manage.py doctor).",
    "disk_low": "Nothing is started while the data directory has less than 1 GB free; make room, and it"
    " starts by itself.",
}


def explain(runs: Iterable[Run]) -> None:
    """Where no worker lives, that is what they wait for. No row has changed, and none is saved here."""
    waiting = [run for run in runs if run.state in (State.QUEUED, State.INTERRUPTED)]
    if waiting and leases.none_seen():
        for run in waiting:
            run.queue_reason = NO_WORKER
