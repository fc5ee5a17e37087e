"""Whether the parts that everything needs are there."""

from __future__ import annotations

import logging
from functools import cache

import redis
from django.conf import settings
from django.db import Error

from apps.events import redis_state
from apps.host.disk import free_bytes
from apps.runs import limits
from apps.runs.leases import none_seen

logger = logging.getLogger(__name__)

_REDIS_ANSWERS_WITHIN_S = 0.5


def failing() -> list[str]:
    """Which of `database`, `disk`, `redis` and `workers` are down; workers get their time to start first.

    `disk`: it is full. One that is only nearly full keeps new agents waiting, which `doctor` and cards say.
    """
    down: list[str] = []
    try:
        no_worker = none_seen()
    except Error:
        down.append("database")
        no_worker = False
    if free_bytes(settings.DATA_DIR) < limits.FULL_DISK_BYTES:
        down.append("disk")
    if not _redis_answers():
        down.append("redis")
    if no_worker:
        down.append("workers")
    return down


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_REDIS_ANSWERS_WITHIN_S,
        socket_connect_timeout=_REDIS_ANSWERS_WITHIN_S,
        retry=None,
    )


def _redis_answers() -> bool:
    try:
        _client().ping()
    except (redis.RedisError, OSError) as error:
        redis_state.failed(error)
        return False
    redis_state.answered()
    return True


_last: list[str] = []


def say_if_changed(down: list[str]) -> None:
    """One line in the log for a state, however often it is asked for."""
    global _last
    before, _last = _last, down
    if down == before:
        return
    if down:
        logger.warning("not working: %s", ", ".join(down))
    else:
        logger.warning("all works again")
