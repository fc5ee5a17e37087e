"""What an agent does right now, for whoever watches its project: told at most once a second, never stored."""

from __future__ import annotations

import asyncio
import time

from apps.common.envelope import dumps
from apps.common.ids import public_id
from apps.events import telling

EVERY_S = 1.0


class Activity:
    def __init__(self, *, project_id: int, card_id: int, session_id: int) -> None:
        self.project_id = project_id
        self.about = {
            "projectId": public_id("project", project_id),
            "cardId": public_id("card", card_id),
            "sessionId": public_id("session", session_id),
        }
        self._told_at = 0.0
        self._told: tuple[str, str] | None = None
        self._latest: tuple[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self, kind: str, title: str = "") -> None:
        """`kind`: thinking, writing or tool, the last with its title. The latest wins."""
        self._latest = kind, title
        if self._timer is not None or self._latest == self._told:
            return
        wait = self._told_at + EVERY_S - time.monotonic()
        if wait <= 0:
            self._tell()
        else:
            self._timer = asyncio.get_running_loop().call_later(wait, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if self._latest is None or self._latest == self._told:
            return
        self._told, self._told_at = self._latest, time.monotonic()
        kind, title = self._told
        data = dumps({**self.about, "activity": kind, "title": title}).decode()
        telling.tell_project(self.project_id, "", 0, f'{{"type":"agent.activity","data":{data}}}')

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
