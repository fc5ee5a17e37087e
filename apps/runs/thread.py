"""The thread of the loop in a worker process: started once, woken by Celery, stopped with the process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

from apps.runs.worker import Loop

logger = logging.getLogger(__name__)

_loop: Loop | None = None
_thread: threading.Thread | None = None


def start_loop(heartbeat_fd: int | None) -> None:
    """Start the loop in a thread of this process and return; it claims as soon as it is registered."""
    global _thread
    ready = threading.Event()

    async def body() -> None:
        global _loop
        _loop = Loop(heartbeat_fd)
        ready.set()
        await _loop.main()

    def run() -> None:
        try:
            asyncio.run(body())
        except BaseException:
            logger.exception("the worker's loop broke")
            os._exit(70)

    _thread = threading.Thread(target=run, name="runs", daemon=True)
    _thread.start()
    ready.wait(10)


def stop_loop(timeout: float) -> None:
    """Stop in an orderly way: runs become `interrupted` and go on after the next start."""
    if _loop is None or _thread is None:
        return
    _loop.loop.call_soon_threadsafe(_loop.stopping.set)
    _thread.join(timeout)


def poke() -> None:
    """Look at the rows now (called from a Celery task, in another thread)."""
    if _loop is not None:
        _loop.loop.call_soon_threadsafe(_loop.wake.set)
