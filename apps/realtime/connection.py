"""One socket: who it is, what it follows, and how it catches up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from apps.events.bus import Position
from apps.realtime import frames, reads
from apps.realtime.access import Caller, Reach, identify
from apps.realtime.frames import Auth, Project, Refused, Run, Session, Subscribe, Topic, Unsubscribe
from apps.realtime.outbox import Frame, Outbox, Send
from apps.realtime.streams import AnyStream, Follower, LineStream, ProjectStream
from apps.runs.lines import Part

if TYPE_CHECKING:
    from apps.realtime.hub import Hub

logger = logging.getLogger(__name__)

UNAUTHENTICATED = 4001
MOST_TOPICS = 500
_WHAT: dict[type[Topic], str] = {Project: "project", Session: "session", Run: "run"}


@dataclass
class Following:
    """`project_id` is None until it is known that the caller may see it."""

    stream: AnyStream
    follower: Follower
    project_id: int | None = None
    task: asyncio.Task[None] | None = None


class Connection:
    def __init__(self, hub: Hub, send: Send, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.hub = hub
        self.outbox = Outbox(send)
        self.caller: Caller | None = None
        self._headers = list(headers)
        self._following: dict[Topic, Following] = {}
        hub.enter(self)

    async def authenticate(self, token: str | None) -> bool:
        """Whether the token is good; if not, the socket is closed with 4001."""
        self.caller = await self.hub.door.read(identify, token, self._headers)
        if self.caller is None:
            self.close(UNAUTHENTICATED)
        return self.caller is not None

    def close(self, code: int) -> None:
        self.outbox.close(code)
        self._follow_nothing()

    def ended(self) -> None:
        """The connection is gone."""
        self.outbox.abandon()
        self._follow_nothing()
        self.hub.leave(self)

    def reaches(self) -> dict[Topic, Reach]:
        """What the caller must be allowed to see for what it follows."""
        if self.caller is None:
            return {}
        return {
            topic: self.caller.reach(each.project_id)
            for topic, each in self._following.items()
            if each.project_id is not None
        }

    def say(self, text: str) -> None:
        self.outbox.put(Frame(text))

    async def receive(self, text: str) -> None:
        """Serve a frame from an authenticated client; a bad one is answered, whatever it is."""
        if self.outbox.closed:
            return
        try:
            request = frames.parse(text)
            if isinstance(request, Auth):
                raise Refused("already_authenticated", "This socket has its user already.")
            if isinstance(request, Subscribe):
                self._subscribe(request)
            elif isinstance(request, Unsubscribe):
                self._unfollow(request.topic)
        except Refused as refused:
            self.say(frames.error(refused.code, refused.message))

    def lose(self, topic: Topic) -> None:
        """The caller may no longer see this."""
        self._unfollow(topic)
        self._not_found(topic)

    def _not_found(self, topic: Topic) -> None:
        what = _WHAT[type(topic)]
        self.say(frames.error("not_found", f"There is no such {what} that you may see.", topic))

    def _subscribe(self, request: Subscribe) -> None:
        topic = request.topic
        self._unfollow(topic)
        if len(self._following) >= MOST_TOPICS:
            raise Refused(
                "too_many",
                f"A socket may follow {MOST_TOPICS} things at once; unsubscribe from some.",
            )
        stream = self.hub.stream(topic)
        caller = self.caller
        is_program = caller is not None and caller.token_id is not None
        follower = Follower(self.outbox, is_program=is_program)
        stream.followers[self.outbox] = follower
        following = Following(stream, follower)
        self._following[topic] = following
        following.task = asyncio.create_task(self._follow(request, following))

    def _unfollow(self, topic: Topic) -> None:
        following = self._following.pop(topic, None)
        if following is not None:
            if following.task is not None:
                following.task.cancel()
            self.hub.drop(following.stream, self.outbox)

    def _follow_nothing(self) -> None:
        for topic in list(self._following):
            self._unfollow(topic)

    async def _follow(self, request: Subscribe, following: Following) -> None:
        stream, topic = following.stream, request.topic
        try:
            if isinstance(stream, ProjectStream):
                found = await self._open_project(stream, request, following)
            else:
                found = await self._open_lines(stream, request, following)
            if found:
                await self._catch_up(stream, following.follower)
            else:
                following.task = None
                self.lose(topic)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("a subscription failed: %s", error)
            following.task = None
            self._unfollow(topic)
            self.say(
                frames.error(
                    "unavailable", "The database can't be reached; subscribe again shortly.", topic
                )
            )

    async def _open_project(
        self, stream: ProjectStream, request: Subscribe, following: Following
    ) -> bool:
        assert self.caller is not None
        reach = self.caller.reach(stream.topic.id)
        follower = following.follower
        while True:
            opening = await self.hub.door.read(reads.open_project, reach, request.since)
            if opening is None:
                return False
            position = opening.position
            stream.start(position)
            if stream.epoch == position.epoch:
                break
            await self.hub.look()
        following.project_id = stream.topic.id
        follower.opened = True
        follower.mark = position.seq
        self.say(frames.project_frame("subscribed", stream.topic.id, position))
        since = request.since
        if not opening.can_replay:
            self.say(frames.project_frame("resync", stream.topic.id, position))
        elif since is not None:
            follower.mark = since.seq if isinstance(since, Position) else since
        return True

    async def _open_lines(
        self, stream: LineStream, request: Subscribe, following: Following
    ) -> bool:
        assert self.caller is not None
        follower = following.follower
        opening = await self.hub.door.read(
            reads.open_lines, self.caller, stream.topic, request.after
        )
        if opening is None:
            return False
        stream.start(opening.rev)
        following.project_id = opening.project_id
        follower.opened = True
        follower.mark = opening.rev
        self.say(frames.lines_frame("subscribed", stream.topic, opening.index, opening.rev))
        if request.after_rev is None:
            await self._send_part(stream, opening.part)
        elif request.after_rev <= opening.rev:
            follower.mark = request.after_rev
        else:
            # It has heard of what was lost here.
            self.say(frames.lines_frame("resync", stream.topic, opening.index, opening.rev))
        return True

    async def _send_part(self, stream: LineStream, part: Part) -> None:
        """Page by page as the client takes them; what changes meanwhile comes after it."""
        turn, last = stream.turn, -1
        while True:
            page = await self.hub.replay.read(part.page, last)
            for index, text in page.rows:
                await self.outbox.room()
                if stream.turn != turn or self.outbox.closed:
                    return
                self.say(text)
                last = last if index is None else index
            if not page.more:
                return

    async def _catch_up(self, stream: AnyStream, follower: Follower) -> None:
        """Send what is stored until nothing is left that the stream has passed on, then go live."""
        while stream.mark is not None and follower.mark < stream.mark:
            turn, passed_on = stream.turn, stream.mark
            batch = await self.hub.replay.read(stream.read, follower.mark)
            await self.outbox.room()
            if stream.turn != turn:
                continue
            stream.catch_up(follower, passed_on, batch)
        follower.live = True
