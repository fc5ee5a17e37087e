"""The worker process: Celery for short jobs, and the loop that owns the agents."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from types import FrameType
from typing import Any

from celery import signals
from celery.apps import worker as celery_worker
from celery.beat import Scheduler, Service
from celery.exceptions import SecurityWarning
from celery.worker import state
from django.conf import settings

from apps.host.disk import host_id
from apps.operations.serving import broker_log
from apps.runs.worker import STOP_WITHIN_S

THREADS = 4
# The loop keeps its own budget; this is for one that hangs.
STOP_LOOP_WITHIN = STOP_WITHIN_S + 0.5


class _Worker(celery_worker.Worker):
    """Celery's worker without its ways to the terminal, the process title and SIGHUP."""

    def install_platform_tweaks(self, worker: Any) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            signals.worker_shutting_down.send(sender=worker, sig=number, how="Warm", exitcode=0)
            state.should_stop = 0  # type: ignore[assignment]  # an exit code, says Celery

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    def set_process_status(self, info: str) -> None:
        pass


def _keep_logging(**kwargs: Any) -> None:
    """A receiver of this signal keeps Celery from configuring the loggers."""


class Beat(threading.Thread):
    """Celery's scheduler as a thread, its state in memory: calendar jobs may be late, not lost."""

    def __init__(self, app: Any) -> None:
        super().__init__(name="beat", daemon=True)
        self._service = Service(app, max_interval=5, scheduler_cls=Scheduler)

    def run(self) -> None:
        self._service.start(embedded_process=False)

    def stop(self) -> None:
        self._service.stop()


def preload() -> None:
    """Import what a worker needs, so that a fork shares it."""
    from kanban_agents.celery import app

    app.loader.import_default_modules()
    app.finalize()


def run(report: int | None, *, queues: list[str], beat: bool) -> None:
    """Work until SIGTERM. `report`: where the agents' loop writes its sign of life."""
    from kanban_agents.celery import app

    # About root, whom messages in pickle would endanger; ours are JSON and containers run as root.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.setup_logging.connect(_keep_logging, weak=False)
    broker_log.translate(app)
    from apps.cards import elsewhere
    from apps.runs import thread as loop

    stopper: list[threading.Thread] = []

    def stop_loop(**kwargs: Any) -> None:
        # In a signal handler of the main thread: only start the stop, which writes to the database.
        if not stopper:
            stopper.append(
                threading.Thread(target=loop.stop_loop, args=(STOP_LOOP_WITHIN,), name="stop-loop")
            )
            stopper[0].start()

    signals.worker_shutting_down.connect(stop_loop, weak=False)
    worker = _Worker(
        app=app,
        hostname=f"worker-{os.getpid()}@kanban",
        pool="threads",
        concurrency=THREADS,
        queues=[*queues, elsewhere.queue_of(host_id(settings.DATA_DIR))],
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
    )
    loop.start_loop(report)
    clock = Beat(app) if beat else None
    if clock is not None:
        clock.start()
    try:
        worker.start()
    finally:
        stop_loop()
        for thread in stopper:
            thread.join(STOP_LOOP_WITHIN + 0.2)
