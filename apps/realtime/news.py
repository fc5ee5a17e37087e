"""Hearing what others tell over Redis (see events.telling), for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from apps.events import redis_state
from apps.events.telling import PROJECT_CHANNEL, RUN_CHANNEL, SESSION_CHANNEL, USER_CHANNEL

# A silent server is asked after this long, and left after as long again without an answer.
_SILENCE_S = 2.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


async def listen(hear: Callable[[str, str, str], None], connected: Callable[[], None]) -> None:
    """Calls `hear(channel, head, body)` for everything told; ends only by being cancelled.

    `connected` is called each time it begins to listen: what was told before that is not heard.
    """
    pause = _FIRST_PAUSE_S
    while True:
        client: Redis = Redis.from_url(
            settings.REDIS_URL,
            socket_connect_timeout=1.0,
            socket_timeout=_SILENCE_S,
            retry=None,
            lib_name=None,
            lib_version=None,
        )
        try:
            pubsub = client.pubsub()
            await pubsub.subscribe(PROJECT_CHANNEL, SESSION_CHANNEL, RUN_CHANNEL, USER_CHANNEL)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=_SILENCE_S)
                if message is None:
                    if asked:
                        raise RedisError("it does not answer")
                    asked = True
                    await pubsub.ping()
                    continue
                asked = False
                if message["type"] == "message":
                    head, _, body = message["data"].decode().partition("\n")
                    hear(message["channel"].decode(), head, body)
                elif message["type"] == "subscribe":
                    pause = _FIRST_PAUSE_S
                    redis_state.answered()
                    connected()
        except (RedisError, OSError, TimeoutError) as error:
            redis_state.failed(error)
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await client.aclose()
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
