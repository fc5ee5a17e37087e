"""Whether the parts that everything needs are there."""

from __future__ import annotations

import time
from functools import cache

import redis
from django.conf import settings
from django.db import Error

from apps.host.disk import free_bytes
from apps.runs.leases import DEAD_AFTER_S, any_alive

_REDIS_ANSWERS_WITHIN_S = 0.5
_FULL_BYTES = 16 << 20
_started = time.monotonic()


def failing() -> list[str]:
    """Which of `database`, `disk`, `redis` and `workers` are down; workers get their time to start first.

    `disk`: it is full. One that is only nearly full keeps new agents waiting, which `doctor` and cards say.
    """
    down: list[str] = []
    try:
        alive = any_alive(DEAD_AFTER_S)
    except Error:
        down.append("database")
        alive = True
    if free_bytes(settings.DATA_DIR) < _FULL_BYTES:
        down.append("disk")
    if not _redis_answers():
        down.append("redis")
    if not alive and time.monotonic() - _started >= DEAD_AFTER_S:
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
        return bool(_client().ping())
    except (redis.RedisError, OSError):
        return False
