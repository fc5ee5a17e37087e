"""On SQLite a worker's writes stand in the same line as the services of its process.

Outside of it they would look for a gap between writers that hand the database on to each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection

from apps.events.writing import turn
from apps.runs import leases
from apps.runs.kinds import Claim
from apps.runs.models import State, Worker
from apps.scripts import attempts
from apps.scripts.models import ScriptOutput, ScriptRun
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def in_its_turn(write: Callable[[], object], happened: Callable[[], bool]) -> bool:
    """Whether `write`, in a thread, waits until the one before it in the line is done."""

    def run() -> None:
        try:
            write()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with turn():
        thread.start()
        thread.join(0.5)
        waited = thread.is_alive() and not happened()
    thread.join(30)
    return waited and happened()


def test_workers_come_and_go_in_their_turn(tmp_path: Path) -> None:
    def register() -> object:
        return leases.register(tmp_path, "h1", os.getpid())

    def nobody() -> bool:
        return not Worker.objects.exists()

    assert in_its_turn(register, Worker.objects.exists)
    worker = Worker.objects.get().pk
    observer = leases.Observer("w1", "h1", tmp_path)
    assert in_its_turn(lambda: leases.sign_off(worker, tmp_path), nobody)
    Worker.objects.create(id="w2", host_id="h1", pid=1)
    assert in_its_turn(lambda: observer.forget("w2"), nobody)
    Worker.objects.create(id="w3", host_id="h2", pid=1)
    observer.hosts["h2"] = frozenset({("w3", 0)}), float("-inf")
    assert in_its_turn(lambda: observer.forget_host("h2"), nobody)


def test_old_output_is_removed_in_its_turn() -> None:
    project = factories.make_project(factories.make_user("alice"))
    run = ScriptRun.objects.create(
        project_id=project.pk, command="make", state=State.RUNNING, fence=1, worker_id="w1"
    )
    for fence, ordinal in ((1, 1), (1, 2), (2, 1)):
        ScriptOutput.objects.create(
            run=run,
            index=2 * fence + ordinal,
            rev=0,
            content="",
            fence=fence,
            ordinal=ordinal,
            created_at=datetime.now(UTC),
        )
    claim = Claim("script", run.pk, 1, "h1", "w1")
    assert in_its_turn(lambda: attempts.prune(claim, 2), lambda: run.output.count() == 2)
    assert list(run.output.order_by("index").values_list("fence", "ordinal")) == [(1, 2), (2, 1)]
