"""One project's events or one run's lines, in order, to whoever follows them.

Nothing is kept in memory: whoever lacks something, a follower that just came or the stream itself after a
gap in the news, reads the rows. A follower is `live` once it has everything that the stream has passed on;
from then on it gets what the stream gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

from apps.events import replay
from apps.events.bus import Position
from apps.realtime import frames
from apps.realtime.frames import Project, Talker, Topic
from apps.realtime.outbox import Frame
from apps.realtime.sources import lines_of

# Few enough to fit into an outbox that has room; their bytes are bounded where they are read.
LONGEST_BATCH = 400
# A stream that is further behind sends its followers to reload.
LONGEST_GAP = replay.LONGEST_REPLAY


class Batch(NamedTuple):
    """Stored (number, frame) in their order, and whether there are more behind them."""

    rows: list[tuple[int, str]]
    more: bool


class Ear(Protocol):
    """Whom frames are put to: a socket's outbox, or a bell."""

    def put(self, frame: Frame) -> None: ...


class Follower:
    """`mark` is the last number it was sent.

    It is `opened` once it was told where it begins; nothing is sent before that. A program is told less.
    """

    def __init__(self, ear: Ear, *, is_program: bool = False) -> None:
        self.ear = ear
        self.is_program = is_program
        self.mark = 0
        self.opened = False
        self.live = False

    def offer(self, number: int, frame: Frame) -> None:
        if number > self.mark:
            self.mark = number
            self.ear.put(frame.for_programs if self.is_program else frame)


class Stream:
    """`mark` is the last number passed on, None before the first look; `known` the last known to exist.

    `turn` counts restarts: what was read before one must not be sent after it.
    """

    topic: Topic

    def __init__(self) -> None:
        self.mark: int | None = None
        self.known = 0
        self.followers: dict[Ear, Follower] = {}
        self.turn = 0
        self.filling = False

    @property
    def behind(self) -> bool:
        return self.mark is not None and self.mark < self.known

    def read(self, after: int) -> Batch:
        """What is stored after this number; runs in a thread."""
        raise NotImplementedError

    def pass_on(self, number: int, text: str) -> None:
        self.mark = number
        self.known = max(self.known, number)
        frame = Frame(text)
        for follower in list(self.followers.values()):
            if follower.live:
                follower.offer(number, frame)

    def pass_by(self, text: str) -> None:
        """What has no number and is not stored: sent to those who are up to date, or to nobody."""
        if self.behind:
            return
        frame = Frame(text)
        for follower in list(self.followers.values()):
            if follower.live:
                follower.ear.put(frame)

    def filled(self, asked: int, batch: Batch) -> None:
        """Take what was read after the mark as it was, when at least `asked` existed."""
        raise NotImplementedError

    def catch_up(self, follower: Follower, asked: int, batch: Batch) -> None:
        """Send what was read after the follower's mark, when at least `asked` existed."""
        raise NotImplementedError

    def _restart(self, mark: int, text: str) -> None:
        self.mark = self.known = mark
        self.turn += 1
        frame = Frame(text)
        for follower in list(self.followers.values()):
            if follower.opened:
                follower.mark = mark
                follower.ear.put(frame)


class ProjectStream(Stream):
    topic: Project

    def __init__(self, project_id: int) -> None:
        super().__init__()
        self.topic = Project(project_id)
        self.epoch = ""

    def read(self, after: int) -> Batch:
        return Batch(*replay.frames_since(self.topic.id, after, limit=LONGEST_BATCH))

    def start(self, position: Position) -> None:
        if self.mark is None:
            self.epoch = position.epoch
            self.mark = self.known = position.seq

    def restart(self, position: Position) -> None:
        """Nothing sent so far says anything about what comes: everybody reloads."""
        self.epoch = position.epoch
        self._restart(position.seq, frames.project_frame("resync", self.topic.id, position))

    def news(self, seq: int, text: str) -> None:
        if self.mark is None:
            return
        if seq == self.mark + 1:
            self.pass_on(seq, text)
        elif seq > self.mark:
            self.known = max(self.known, seq)

    def filled(self, asked: int, batch: Batch) -> None:
        for seq, text in batch.rows:
            if self.mark is None or seq <= self.mark:
                continue
            if seq != self.mark + 1:
                break
            self.pass_on(seq, text)
        else:
            if self.mark is not None and (self.mark >= asked or batch.more):
                return
        # Somebody removed what lies between.
        self.restart(Position(self.epoch, max(self.known, asked)))

    def catch_up(self, follower: Follower, asked: int, batch: Batch) -> None:
        rows = batch.rows
        if rows and rows[0][0] == follower.mark + 1:
            for seq, text in rows:
                follower.offer(seq, Frame(text))
        else:
            position = Position(self.epoch, asked)
            follower.mark = asked
            follower.ear.put(Frame(frames.project_frame("resync", self.topic.id, position)))


class LineStream(Stream):
    topic: Talker

    def __init__(self, topic: Talker) -> None:
        super().__init__()
        self.topic = topic

    def read(self, after: int) -> Batch:
        lines = lines_of(self.topic)
        return Batch(*lines.after_rev(self.topic.id, after, limit=LONGEST_BATCH))

    def start(self, rev: int) -> None:
        if self.mark is None:
            self.mark = self.known = rev

    def restart(self, index: int, rev: int) -> None:
        self._restart(rev, frames.lines_frame("resync", self.topic, index, rev))

    def news(self, first: int, last: int, texts: list[str]) -> None:
        if self.mark is None or last <= self.mark:
            return
        if first == self.mark + 1 and len(texts) == last - first + 1:
            for rev, text in zip(range(first, last + 1), texts, strict=True):
                self.pass_on(rev, text)
        else:
            self.known = max(self.known, last)

    def filled(self, asked: int, batch: Batch) -> None:
        for rev, text in batch.rows:
            if self.mark is not None and rev > self.mark:
                self.pass_on(rev, text)
        # A message that changed twice has only its last rev; so a gap in revs is none in the messages. (Of a
        # script's output the beginning may be gone.)
        if not batch.more and self.mark is not None and self.mark < asked:
            self.mark = asked

    def catch_up(self, follower: Follower, asked: int, batch: Batch) -> None:
        for rev, text in batch.rows:
            follower.offer(rev, Frame(text))
        if not batch.more:
            follower.mark = max(follower.mark, asked)


AnyStream = ProjectStream | LineStream
T = TypeVar("T", bound=Topic)


def marks(streams: Mapping[T, AnyStream]) -> dict[T, int]:
    return {topic: each.mark for topic, each in streams.items() if each.mark is not None}
