"""`manage.py serve`: the whole server, or with `--role` one process of it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.host import privacy, spawn
from apps.host.redis_server import RedisServerProblem
from apps.operations.preflight import StartProblem
from apps.operations.serving import embedded, roles


class Command(BaseCommand):
    help = "Start the server: web, worker and an embedded Redis, restarted when they fail."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--role",
            choices=roles.ROLES,
            help="run only this process, in the foreground (for containers)",
        )
        parser.add_argument(
            "--patience",
            type=float,
            default=60.0,
            help="with --role: seconds to wait for somebody else to migrate the database",
        )
        parser.add_argument(
            "--spawn",
            choices=("fork", "fresh"),
            default="fork" if spawn.CAN_FORK_AFTER_IMPORT else "fresh",
            help=argparse.SUPPRESS,
        )
        for name in ("--report", "--listen", "--parent"):
            parser.add_argument(name, type=int, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        privacy.keep_private(settings.DATA_DIR)
        try:
            if options["role"] is None:
                embedded.run(fork=options["spawn"] == "fork")
            elif options["parent"] is None:
                roles.run_alone(options["role"], patience=options["patience"])
            else:
                self._supervised(options)
        except (StartProblem, RedisServerProblem) as problem:
            sys.stderr.write(f"kanban-agents: {problem}\n")
            raise SystemExit(1) from None

    def _supervised(self, options: dict[str, Any]) -> None:
        spawn.die_with(options["parent"])
        if options["role"] == "web":
            roles.run_web(socket.socket(fileno=options["listen"]), options["report"])
        else:
            roles.run_worker(options["report"], beat=True)
        # Threads of a pool may still be at work; waiting for them would end in SIGKILL.
        sys.stderr.flush()
        os._exit(0)
