"""The supervisor's part in a container, where nobody supervises: a worker whose loop hangs ends.

Whoever runs the containers starts it again. One that stands still as a whole is beyond help from inside.
"""

from __future__ import annotations

import logging
import os
import select
import threading

from apps.host.supervisor import FIRST_BYTE_WITHIN

logger = logging.getLogger(__name__)

# Of its loop, in seconds; a supervisor has the same patience.
WORKER_SILENCE = 30.0


def start(*, tick_s: float = 1.0) -> int:
    """Where this process has to give signs of life from now on, as to a supervisor."""
    read, write = os.pipe()
    threading.Thread(target=_watch, args=(read, tick_s), name="watchdog", daemon=True).start()
    return write


def _watch(read: int, tick_s: float) -> None:
    # Counted in looks of its own: however long the process was stopped, or the laptop asleep, is one of them.
    missed, most = 0, FIRST_BYTE_WITHIN
    while missed < most:
        if select.select([read], [], [], tick_s)[0]:
            os.read(read, 4096)
            missed, most = 0, WORKER_SILENCE
        else:
            missed += 1
    logger.error("worker gave no sign of life for %.0f s; ending it", missed * tick_s)
    os._exit(70)
