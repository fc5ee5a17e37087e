"""One hub per process: hears the news once, reads what it lacks once, and fans out to all sockets.

Redis only makes it fast. Once a second the hub asks the database, one query each, how far the projects,
sessions and runs are that somebody follows, and reads the difference; so a change reaches every follower
even if whoever made it died before telling, and while Redis is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakKeyDictionary

from apps.accounts.authentication import forget_all
from apps.common.ids import public_id
from apps.events import replay
from apps.events.bus import position as position_of
from apps.events.telling import PROJECT_CHANNEL, RUN_CHANNEL, SESSION_CHANNEL, USER_CHANNEL
from apps.realtime import reads
from apps.realtime.access import Caller
from apps.realtime.bell import ABOUT_ACCESS, Bell
from apps.realtime.connection import UNAUTHENTICATED, Connection
from apps.realtime.frames import Project, Run, Session, Talker, Topic
from apps.realtime.news import listen
from apps.realtime.outbox import Frame
from apps.realtime.rows import RowThread
from apps.realtime.sources import lines_of
from apps.realtime.streams import (
    LONGEST_GAP,
    AnyStream,
    Ear,
    Follower,
    LineStream,
    ProjectStream,
    marks,
)

logger = logging.getLogger(__name__)

# A little under a second, so that "within a second" holds with the query and its news.
LOOK_EVERY_S = 0.8
_LOOK_PAUSE_S = 0.05
_TALKERS: dict[str, type[Talker]] = {SESSION_CHANNEL: Session, RUN_CHANNEL: Run}
_REVOKED = '{"type":"revoked"'

_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


class Hub:
    """Lives from the first socket or bell to the last, in one event loop; nothing is called from others."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.projects: dict[Project, ProjectStream] = {}
        self.talkers: dict[Talker, LineStream] = {}
        self.bells: set[Bell] = set()
        # A long replay must hold up neither the watch nor whoever knocks.
        self.watch = RowThread("hub-watch")
        self.door = RowThread("hub-door")
        self.replay = RowThread("hub-replay")
        self._wake = asyncio.Event()
        self._filling: set[asyncio.Task[None]] = set()
        self._tasks = [
            asyncio.create_task(listen(self.hear, self.look_soon), name="hub-news"),
            asyncio.create_task(self._look_again_and_again(), name="hub-watch"),
        ]

    # Sockets and what they follow

    def enter(self, connection: Connection) -> None:
        self.connections.add(connection)

    def leave(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections and not self.bells:
            self._end()

    @contextlib.asynccontextmanager
    async def bell(self, about: str, find: Callable[[], int | None]) -> AsyncIterator[Bell]:
        """Rings at the events of a project that mention `about`, and when access may have changed.

        What happens once this has begun is heard. `find` reads which project; without one it never rings.
        May raise what the database says.
        """
        bell = Bell(about)
        self.bells.add(bell)
        stream: AnyStream | None = None
        try:
            project_id = await self.door.read(find)
            if project_id is not None:
                stream = self.stream(Project(project_id))
                follower = stream.followers[bell] = Follower(bell)
                follower.opened = follower.live = True
                position = await self.door.read(position_of, project_id)
                if position is not None and isinstance(stream, ProjectStream):
                    stream.start(position)
            yield bell
        finally:
            if stream is not None:
                self.drop(stream, bell)
            self.bells.discard(bell)
            if not self.connections and not self.bells:
                self._end()

    def stream(self, topic: Topic) -> AnyStream:
        if isinstance(topic, Project):
            return self.projects.setdefault(topic, ProjectStream(topic.id))
        return self.talkers.setdefault(topic, LineStream(topic))

    def drop(self, stream: AnyStream, ear: Ear) -> None:
        stream.followers.pop(ear, None)
        if not stream.followers:
            if isinstance(stream, ProjectStream):
                self.projects.pop(stream.topic, None)
            else:
                self.talkers.pop(stream.topic, None)

    def _end(self) -> None:
        for task in [*self._tasks, *self._filling]:
            task.cancel()
        for thread in (self.watch, self.door, self.replay):
            thread.close()
        loop = asyncio.get_running_loop()
        if _hubs.get(loop) is self:
            del _hubs[loop]

    # News

    def hear(self, channel: str, head: str, body: str) -> None:
        try:
            if channel == PROJECT_CHANNEL:
                self._hear_project(head, body)
            elif channel in _TALKERS:
                self._hear_talkers(_TALKERS[channel], head, body)
            elif channel == USER_CHANNEL:
                self._hear_users({int(each) for each in head.split(",")}, body)
        except ValueError:
            logger.warning("news on %s that can't be read: %.100s", channel, head)

    def _hear_project(self, head: str, text: str) -> None:
        project_id, epoch, seq = head.split(":")
        stream = self.projects.get(Project(int(project_id)))
        if stream is None:
            return
        if int(seq) == 0:
            stream.pass_by(text)
            return
        if stream.mark is not None and epoch != stream.epoch:
            self.look_soon()
            return
        stream.news(int(seq), text)
        self._fill(stream)
        if text.startswith(ABOUT_ACCESS):
            self.look_soon()

    def _hear_talkers(self, kind: type[Talker], head: str, body: str) -> None:
        """One's news or many's, each a head and the frames that belong to it."""
        frames: list[str] = []
        for line in body.split("\n"):
            if line.startswith("{"):
                frames.append(line)
            elif line:
                self._hear_talker(kind, head, frames)
                head, frames = line, []
        self._hear_talker(kind, head, frames)

    def _hear_talker(self, kind: type[Talker], head: str, frames: list[str]) -> None:
        run_id, what, *numbers = head.split(":")
        stream = self.talkers.get(kind(int(run_id)))
        if stream is None:
            return
        if what == "d":
            for text in frames:
                stream.pass_by(text)
            return
        first, last = numbers
        stream.news(int(first), int(last), frames)
        self._fill(stream)

    def _hear_users(self, user_ids: set[int], text: str) -> None:
        revoked = json.loads(text) if text.startswith(_REVOKED) else None
        if revoked is not None:
            forget_all()
        frame = Frame(text)
        for connection in list(self.connections):
            if connection.caller is None or connection.caller.user_id not in user_ids:
                continue
            if revoked is not None:
                if _is_revoked(connection.caller, revoked):
                    connection.close(UNAUTHENTICATED)
            elif _is_for(connection.caller, text):
                connection.outbox.put(frame)

    # Rows

    def look_soon(self) -> None:
        self._wake.set()

    async def _look_again_and_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
            self._wake.clear()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever the database says: it is asked again
                logger.warning("the hub can't read the database: %s", error)
            await asyncio.sleep(_LOOK_PAUSE_S)

    async def look(self) -> None:
        """Compare with the database: what is missing, who may no longer."""
        projects, talkers = marks(self.projects), marks(self.talkers)
        asked = reads.Asked(projects=list(projects), talkers=list(talkers))
        connections = [each for each in self.connections if each.caller is not None]
        for connection in connections:
            if connection.caller is not None:
                asked.callers.add(connection.caller)
                asked.reaches |= set(connection.reaches().values())
        if not (projects or talkers or asked.callers):
            return
        found = await self.watch.read(reads.look, asked)
        for project, mark in projects.items():
            await self._compare_project(project, mark, found)
        for talker, mark in talkers.items():
            await self._compare_talker(talker, mark, found)
        if self._filling:
            await asyncio.wait(self._filling)
        now = time.time()
        for connection in connections:
            caller = connection.caller
            if caller is None:
                continue
            expired = caller.expires_at is not None and caller.expires_at <= now
            if expired or caller not in found.valid:
                connection.close(UNAUTHENTICATED)
                continue
            for topic, reach in connection.reaches().items():
                gone = topic in talkers and topic not in found.revs
                lost = reach in asked.reaches and reach not in found.within_reach
                if gone or lost:
                    connection.lose(topic)

    async def _compare_project(self, project: Project, mark: int, found: reads.Look) -> None:
        stream, position = self.projects.get(project), found.positions.get(project)
        if stream is None or stream.mark is None or position is None:
            return
        if position.epoch != stream.epoch:
            stream.restart(position)
        elif position.seq < mark:
            # History was lost below us: what was numbered so far will be numbered again.
            renewed = await self.watch.read(replay.renew_epoch, project.id, position.epoch)
            if renewed is not None:
                stream.restart(renewed)
        else:
            stream.known = max(stream.known, position.seq)
            self._fill(stream)

    async def _compare_talker(self, talker: Talker, mark: int, found: reads.Look) -> None:
        stream, rev = self.talkers.get(talker), found.revs.get(talker)
        if stream is None or stream.mark is None or rev is None:
            return
        if rev >= mark:
            stream.known = max(stream.known, rev)
            self._fill(stream)
            return
        position = await self.watch.read(lines_of(talker).position, talker.id)
        if position is not None:
            stream.restart(position[1], position[2])

    def _fill(self, stream: AnyStream) -> None:
        if stream.behind and not stream.filling:
            stream.filling = True
            task = asyncio.create_task(self._read_missing(stream))
            self._filling.add(task)
            task.add_done_callback(self._filling.discard)

    async def _read_missing(self, stream: AnyStream) -> None:
        try:
            while stream.followers and stream.mark is not None and stream.mark < stream.known:
                asked, turn = stream.known, stream.turn
                if isinstance(stream, ProjectStream) and asked - stream.mark > LONGEST_GAP:
                    position = (await self.watch.read(replay.positions, [stream.topic.id])).get(
                        stream.topic.id
                    )
                    if position is None:
                        return
                    stream.restart(position)
                    continue
                batch = await self.watch.read(stream.read, stream.mark)
                if stream.turn == turn:
                    stream.filled(asked, batch)
        except Exception as error:  # noqa: BLE001 - the next look finds the same gap
            logger.warning("the hub can't read what it lacks: %s", error)
        finally:
            stream.filling = False


def _is_for(caller: Caller, text: str) -> bool:
    """Whether what a user is told may go to this socket: a project's token hears of that project alone."""
    if caller.only_project is None:
        return True
    data = json.loads(text).get("data")
    project = public_id("project", caller.only_project)
    return isinstance(data, dict) and data.get("projectId") == project


def _is_revoked(caller: Caller, revoked: dict[str, Any]) -> bool:
    """Whether it ends this socket: one token's, those of sign-ins, or all that the user holds."""
    if "tokenId" in revoked:
        return bool(revoked["tokenId"] == caller.token_id)
    return caller.is_signed_in or (caller.token_id is not None and not revoked.get("signIns"))


def current_hub() -> Hub:
    """The hub of the running event loop; made by whoever comes first."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    return hub
