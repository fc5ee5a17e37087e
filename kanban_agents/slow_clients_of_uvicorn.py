"""uvicorn before clients that take nothing of their answers: by itself it waits for them without end."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kanban_agents import servers


class Protocol(HttpToolsProtocol):
    """Cuts a connection off of whose answer nothing has been taken since its clock was set."""

    _clock: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._clock = self.loop.call_later(servers.IDLE_S, self._look, unsent)

    def _stop_watching(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _look(self, unsent: int) -> None:
        if self.transport.get_write_buffer_size() < unsent:
            self._watch()
        else:
            self.transport.abort()
