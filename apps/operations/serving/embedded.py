"""Everything on one machine: Redis, web and worker under a supervisor and its guard."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from django.conf import settings
from django.db import connection, connections
from setproctitle import setproctitle

from apps.host import guard, redis_server, spawn
from apps.host.disk import host_id
from apps.host.privacy import peoples_umask
from apps.host.supervisor import Child, Supervisor
from apps.operations import preflight
from apps.operations.serving import announce, database, roles, worker
from apps.operations.serving.watchdog import WORKER_SILENCE
from apps.runs import leases

GUARD_WITHIN = 5.0


class _Server:
    """What the children are started from; `fork` or fresh interpreters."""

    def __init__(self, *, fork: bool, lock: preflight.DataLock, listener: socket.socket) -> None:
        self.fork = fork
        self.lock = lock
        self.listener = listener
        self.leash = guard.Leash()
        self.supervisor = Supervisor(
            stop_order=("web", "worker", "redis"),
            watcher=self.leash,
            private=(lock.descriptor, self.leash.read, self.leash.write),
        )

    def start_guard(self, report: int) -> int:
        # Always a fresh interpreter: a fork would keep its own copy of every page the others change.
        self.leash.repeat()
        host = host_id(settings.DATA_DIR)
        locks = str(leases.locks(settings.DATA_DIR))
        argv = [sys.executable, "-m", "apps.host.guard", str(self.leash.read), host, locks]
        return spawn.command(
            argv, keep=(self.leash.read, self.lock.descriptor), cwd=settings.BASE_DIR
        )

    def start_redis(self, report: int) -> int:
        program = redis_server.require_program()
        redis_server.prepare_socket(settings.REDIS_SOCKET)
        argv = redis_server.arguments(program, settings.REDIS_SOCKET)
        if not self.fork:
            return spawn.command(argv)
        return spawn.fork(lambda: os.execv(argv[0], argv))

    def start_worker(self, report: int) -> int:
        if not self.fork:
            argv = roles.command_line("worker", report=report)
            return spawn.command(argv, keep=(report,), umask=peoples_umask())
        return spawn.fork(
            lambda: roles.run_worker(report, beat=True),
            close=[*self.supervisor.private_descriptors(), self.listener.fileno()],
        )

    def start_web(self, report: int) -> int:
        listen = self.listener.fileno()
        if not self.fork:
            argv = roles.command_line("web", report=report, listen=listen)
            return spawn.command(argv, keep=(report, listen), umask=peoples_umask())
        return spawn.fork(
            lambda: roles.run_web(self.listener, report),
            close=self.supervisor.private_descriptors(),
        )

    def start(self, on_ready: Callable[[], None]) -> None:
        add = self.supervisor.add
        add(Child("guard", self.start_guard, stays=True))
        if settings.REDIS_EMBEDDED:
            # It keeps nothing, so there is nothing to wait for when it stops.
            add(Child("redis", self.start_redis, stop_by=signal.SIGKILL))
        if database.pending():
            database.bring_up_to_date()
        connection.close()
        if self.fork:
            roles.preload_web()
            worker.preload()
            connections.close_all()
            gc.collect()
            gc.freeze()
        if settings.REDIS_EMBEDDED and not redis_server.answers(settings.REDIS_SOCKET, within=5.0):
            raise preflight.StartProblem(
                f"the embedded Redis server doesn't answer on {settings.REDIS_SOCKET};"
                f" see {redis_server.log_file(settings.REDIS_SOCKET)}, or set KANBAN_REDIS_URL"
            )
        add(Child("web", self.start_web, patience=3.0, silence=30.0, on_first_byte=on_ready))
        add(Child("worker", self.start_worker, patience=6.0, silence=WORKER_SILENCE))

    def end(self) -> None:
        """Let go of the guard, which then clears up whatever is left, and wait for it."""
        self.supervisor.stop()
        pid = self.supervisor.pids().get("guard")
        if settings.REDIS_EMBEDDED:
            settings.REDIS_SOCKET.unlink(missing_ok=True)
        self.leash.close()
        deadline = time.monotonic() + GUARD_WITHIN
        with contextlib.suppress(ChildProcessError):
            while pid and os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.01)


def run(*, fork: bool) -> None:
    """Check, start, and supervise until a stop signal. Raises StartProblem before anything serves."""
    preflight.require_git()
    preflight.require_sandbox(setting=settings.SANDBOX, loopback=settings.LOOPBACK)
    if settings.REDIS_EMBEDDED:
        redis_server.require_program()
    else:
        preflight.require_redis(settings.REDIS_URL)
    if connection.vendor == "sqlite":
        preflight.refuse_network_filesystem(settings.DATA_DIR)
    setproctitle("kanban-agents: serve")
    # Path.exists raises where a folder above may not be entered, before Python 3.14.
    if os.path.exists(settings.DATA_DIR):  # noqa: PTH110
        lock = preflight.lock_data_dir(settings.DATA_DIR)
        listener = preflight.bind(settings.HOST, settings.PORT)
    else:
        # The port first: a server that can't start there leaves no directory behind.
        listener = preflight.bind(settings.HOST, settings.PORT)
        lock = preflight.lock_data_dir(settings.DATA_DIR)
    preflight.require_secret(settings.SERVER_SECRET)
    database.pending()
    server = _Server(fork=fork, lock=lock, listener=listener)
    try:
        server.start(announce.ready)
        server.supervisor.run()
    finally:
        server.end()
