"""One process of the server: web, worker or beat, whoever started it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from django.conf import settings
from django.db import connections
from setproctitle import setproctitle

from apps.common.postgresql import limit_waits
from apps.operations.preflight import bind, require_git, require_secret
from apps.operations.serving import announce, database, watchdog
from apps.runs import doorbell
from kanban_agents.servers import RUNNERS, tune

ROLES = ("web", "worker", "beat")


def preload_web() -> None:
    """Import what a web process needs short of the server, so that a fork shares it."""
    from django.urls import get_resolver

    import kanban_agents.asgi  # noqa: F401

    # Views are imported by their URL configuration, on the first request otherwise.
    get_resolver().url_patterns  # noqa: B018
    connections.close_all()


def run_web(listener: socket.socket, report: int | None) -> None:
    from kanban_agents.asgi import application

    setproctitle("kanban-agents: web")
    limit_waits()
    tune(web=True)
    RUNNERS[settings.ASGI_SERVER](application, listener, report)


def queues() -> list[str]:
    return ["default", doorbell.QUEUE]


def run_worker(report: int | None, *, beat: bool) -> None:
    from apps.operations.serving import worker

    setproctitle("kanban-agents: worker")
    limit_waits()
    worker.preload()
    tune(web=False)
    worker.run(report, queues=queues(), beat=beat)


def run_beat() -> None:
    from celery.beat import Scheduler, Service

    from kanban_agents.celery import app

    setproctitle("kanban-agents: beat")
    Service(app, max_interval=5, scheduler_cls=Scheduler).start()


def run_alone(role: str, *, patience: float) -> None:
    """One role in the foreground, for a container: somebody else migrates, restarts and runs Redis.

    `patience`: how many seconds the migrations may still take.
    """
    if role == "worker":
        require_git()
    require_secret(settings.SERVER_SECRET)
    database.wait_until_migrated(patience)
    if role == "web":
        listener = bind(settings.HOST, settings.PORT)
        announce.ready()
        run_web(listener, None)
    elif role == "worker":
        run_worker(watchdog.start(), beat=False)
        # Threads of a pool may still wait for git; whoever stops a container doesn't wait for them.
        sys.stderr.flush()
        os._exit(0)
    else:
        run_beat()


def command_line(role: str, *, report: int, listen: int | None = None) -> list[str]:
    """How the supervisor starts a role as a fresh interpreter."""
    manage: Path = settings.BASE_DIR / "manage.py"
    argv = [sys.executable, str(manage), "serve", "--role", role]
    argv += ["--report", str(report), "--parent", str(os.getpid())]
    return argv if listen is None else [*argv, "--listen", str(listen)]
