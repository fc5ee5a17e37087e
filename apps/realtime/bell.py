"""For whoever waits for something to happen without a socket: no frames, only that it is time to look."""

from __future__ import annotations

import asyncio

from apps.realtime.outbox import Frame

# Events after which somebody may see less than before.
ABOUT_ACCESS = ('{"type":"member.', '{"type":"project.')
_RELOAD = '{"type":"resync"'


class Bell:
    def __init__(self, about: str) -> None:
        self.rung = asyncio.Event()
        self._about = f'"{about}"'

    def put(self, frame: Frame) -> None:
        if self._about in frame.text or frame.text.startswith((*ABOUT_ACCESS, _RELOAD)):
            self.rung.set()
