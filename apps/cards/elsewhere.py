"""Reading a worktree that another host has: one of its workers looks, and the asking process waits for that.

The question rings the other host's queue, the answer comes as a list in Redis that goes by itself.
"""

from __future__ import annotations

import secrets
from typing import Any

import orjson
import redis
from django.conf import settings
from kombu.exceptions import OperationalError

from apps.cards.models import Worktree
from apps.common.errors import Unavailable
from apps.events import telling
from apps.host.disk import host_id

WITHIN_S = 10
_KEPT_S = 30


def queue_of(host: str) -> str:
    return f"host.{host}"


def is_elsewhere(row: Worktree) -> bool:
    return bool(row.host_id) and row.host_id != host_id(settings.DATA_DIR)


def ask(row: Worktree, what: str) -> Any:
    """The other host's answer; raises Unavailable when none comes within ten seconds."""
    from kanban_agents.celery import app

    reply = f"kanban:reply:{secrets.token_hex(16)}"
    try:
        with telling.impatient_connection(1.0) as connection:
            app.send_task(
                "cards.look",
                args=[what, row.card_id, reply],
                queue=queue_of(row.host_id),
                expires=WITHIN_S,
                retry=False,
                ignore_result=True,
                connection=connection,
            )
        with _redis() as client:
            answer: Any = client.blpop([reply], timeout=WITHIN_S)
    except (redis.RedisError, OperationalError, OSError):
        answer = None
    if answer is None:
        raise Unavailable(
            f"The worktree is on another host ({row.host_id}), none of whose workers answers. Start a worker"
            " there, then try again.",
            code="host_unavailable",
        )
    return orjson.loads(answer[1])


def reply(key: str, answer: Any) -> None:
    with _redis() as client:
        pipe = client.pipeline()
        pipe.rpush(key, orjson.dumps(answer))
        pipe.expire(key, _KEPT_S)
        pipe.execute()


def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=WITHIN_S + 1,
        socket_connect_timeout=1,
        retry=None,
    )
