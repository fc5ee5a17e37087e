"""Telling others after a commit: news for browsers and doorbells for workers, over Redis.

Nothing here is needed for correctness: every reader also looks at the rows once a second or two. So
telling must never hold up a request: one bounded queue and one thread a process, 0.2 s for Redis to
answer, no retries, and after a failure everything is skipped for a second. (With the client's default
time-outs a hung Redis blocked a publish for 58 s.)
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable
from typing import Any

import redis
from django.conf import settings

from apps.events import redis_state

PROJECT_CHANNEL = "kanban:project"
SESSION_CHANNEL = "kanban:session"
RUN_CHANNEL = "kanban:run"
USER_CHANNEL = "kanban:user"

_TIMEOUT_S = 0.2
_PAUSE_S = 1.0
_QUEUE_LIMIT = 10_000
# In characters. Redis cuts off a listener that has 32 MB yet to read.
_LONGEST_NEWS = 500_000


class _Teller:
    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=_QUEUE_LIMIT)
        self.thread = threading.Thread(target=self._run, name="telling", daemon=True)
        self.thread.start()

    def put(self, kind: str, item: Any) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait((kind, item))

    def _run(self) -> None:
        client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=None,
        )
        bell = _Bell()
        skip_until = 0.0
        while True:
            batch = [self.queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < 500:
                    batch.append(self.queue.get_nowait())
            if time.monotonic() < skip_until:
                continue
            try:
                pipe = client.pipeline(transaction=False)
                for kind, item in batch:
                    if kind == "publish":
                        pipe.publish(*item)
                if len(pipe):
                    pipe.execute()
                for kind, item in batch:
                    if kind == "ring":
                        bell.ring(*item)
                redis_state.answered()
            except Exception as error:  # noqa: BLE001 - redis, kombu and the socket each have their own
                skip_until = time.monotonic() + _PAUSE_S
                redis_state.failed(error)
                with contextlib.suppress(Exception):
                    client.connection_pool.disconnect()
                bell.drop()


def impatient_connection(seconds: float) -> Any:
    """To Celery's broker, with time-outs; the application's own waits for a frozen one for ever."""
    from kanban_agents.celery import app

    return app.connection_for_write(
        transport_options={
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_retries": 0,
        }
    )


class _Bell:
    """Celery's way to the queues over a connection of its own: the application's waits for ever."""

    def __init__(self) -> None:
        self.connection: Any = None

    def ring(self, task: str, queue_name: str, args: list[Any]) -> None:
        from kanban_agents.celery import app

        if self.connection is None:
            self.connection = impatient_connection(_TIMEOUT_S)
        app.send_task(
            task,
            args=args,
            queue=queue_name,
            expires=10,
            retry=False,
            ignore_result=True,
            connection=self.connection,
        )

    def drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect()


_teller: _Teller | None = None
_making = threading.Lock()


def _get() -> _Teller:
    global _teller
    if _teller is None:
        with _making:
            if _teller is None:
                _teller = _Teller()
    return _teller


def _forget() -> None:
    """A forked child has the queue but not the thread; it starts its own."""
    global _teller, _making
    _teller = None
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def tell_project(project_id: int, epoch: str, seq: int, frame: str) -> None:
    _get().put("publish", (PROJECT_CHANNEL, f"{project_id}:{epoch}:{seq}\n{frame}"))


def tell_session(session_id: int, head: str, frames: str) -> None:
    """`head` says what follows (see realtime.hub); `frames` goes to the sockets as it is."""
    _get().put("publish", (SESSION_CHANNEL, f"{session_id}:{head}\n{frames}"))


def tell_lines(channel: str, stored: Iterable[tuple[int, int, int, list[str]]]) -> None:
    """What a transaction stored of many runs of a kind: run, first and last rev, frames in their order.

    All in one message, which costs every hub a fraction of one for each; cut where it gets long.
    """
    parts: list[str] = []
    size = 0
    for run_id, first, last, frames in stored:
        if size > _LONGEST_NEWS:
            _get().put("publish", (channel, "\n".join(parts)))
            parts, size = [], 0
        parts.append(f"{run_id}:m:{first}:{last}")
        length = sum(map(len, frames))
        # Without its frames a hub reads the rows.
        if length <= _LONGEST_NEWS:
            parts += frames
            size += length
    if parts:
        _get().put("publish", (channel, "\n".join(parts)))


def tell_user(user_id: int, frame: str) -> None:
    tell_users([user_id], frame)


def tell_users(user_ids: Iterable[int], frame: str) -> None:
    """At least one; all with one message."""
    _get().put("publish", (USER_CHANNEL, f"{','.join(map(str, user_ids))}\n{frame}"))


def ring(task: str, *, queue_name: str = "default", args: list[Any] | None = None) -> None:
    """Wake whoever serves the queue; a bell that isn't heard only costs the two seconds of a poll."""
    _get().put("ring", (task, queue_name, args or []))
