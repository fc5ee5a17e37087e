from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.agents import messages
from apps.agents.models import AgentMessage, AgentSession, Turn
from apps.agents.serializers import message_frame
from apps.boards.models import Board, Column
from apps.cards.models import Card
from apps.common.ids import public_id
from apps.events import telling
from apps.projects.models import ProjectMember
from tests.realtime.client import Client
from tests.realtime.conftest import World

pytestmark = pytest.mark.process

Connect = Callable[[User], Client]


class Transcript:
    """Writes a session's messages as a worker does: rows, then news after the commit."""

    def __init__(self, world: World) -> None:
        project = world.project
        board = Board.objects.create(project=project, name="Board", position=0)
        column = Column.objects.create(
            project=project, board=board, name="Doing", column_type="active", position=0
        )
        card = Card.objects.create(project=project, column=column, position=0, title="Dig")
        self.session = AgentSession.objects.create(project_id=project.pk, card=card)
        self.turn: int | None = None

    @property
    def id(self) -> int:
        return self.session.pk

    def begin_turn(self) -> None:
        turn = Turn.objects.create(
            session=self.session, text="Go on", state=Turn.State.SENT, sent_at=timezone.now()
        )
        self.turn = turn.pk

    def say(self, *contents: str, tell: bool = True) -> None:
        self._store([(None, content) for content in contents], tell=tell)

    def change(self, index: int, content: str, *, tell: bool = True) -> None:
        self._store([(index, content)], tell=tell)

    def _store(self, lines: list[tuple[int | None, str]], *, tell: bool) -> None:
        with transaction.atomic():
            session = AgentSession.objects.select_for_update().get(pk=self.id)
            first = session.next_rev
            texts = []
            for index, content in lines:
                rev, session.next_rev = session.next_rev, session.next_rev + 1
                if index is None:
                    index, session.next_index = session.next_index, session.next_index + 1
                row, _ = AgentMessage.objects.update_or_create(
                    session=session,
                    index=index,
                    defaults={
                        "rev": rev,
                        "role": "assistant",
                        "type": "text",
                        "content": content,
                        "created_at": timezone.now(),
                        "turn_id": self.turn,
                    },
                )
                texts.append(message_frame(row))
            session.save(update_fields=["next_index", "next_rev"])
        if tell:
            last = session.next_rev - 1
            telling.tell_session(self.id, f"m:{first}:{last}", "\n".join(texts))

    def delta(self, index: int, text: str) -> None:
        telling.tell_session(
            self.id,
            "d",
            f'{{"type":"agent.delta","data":{{"index":{index},"offset":0,"text":"{text}"}}}}',
        )


@pytest.fixture
def transcript(world: World) -> Transcript:
    return Transcript(world)


def lines(frames: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    assert {frame["type"] for frame in frames} <= {"agent.message"}
    return [
        (frame["data"]["index"], frame["data"]["rev"], frame["data"]["content"]) for frame in frames
    ]


def test_a_watcher_gets_what_is_stored_then_what_comes(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("zero", "one", "two")
    client = connect(world.bob)
    answer = client.subscribe(sessionId=public_id("session", transcript.id), after=0)
    assert answer == {"sessionId": public_id("session", transcript.id), "index": 2, "rev": 3}
    assert lines(client.take(2)) == [(1, 2, "one"), (2, 3, "two")]
    transcript.delta(3, "thr")
    assert client.next()["data"] == {"index": 3, "offset": 0, "text": "thr"}
    transcript.say("three", "four")
    transcript.change(3, "three!")
    assert lines(client.take(3)) == [(3, 4, "three"), (4, 5, "four"), (3, 6, "three!")]


def test_news_of_many_sessions_come_in_one_message(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    other = Transcript(world)
    client = connect(world.bob)
    for each in (transcript, other):
        client.subscribe(sessionId=each.id)

    def stored(each: Transcript, *contents: str) -> tuple[int, int, int, list[str]]:
        first = AgentSession.objects.get(pk=each.id).next_rev
        each.say(*contents, tell=False)
        rows = AgentMessage.objects.filter(session_id=each.id, rev__gte=first).order_by("rev")
        return each.id, first, first + len(contents) - 1, [message_frame(row) for row in rows]

    telling.tell_lines(telling.SESSION_CHANNEL, [stored(transcript, "a", "b"), stored(other, "c")])
    assert [content for *_, content in lines(client.take(3))] == ["a", "b", "c"]
    # Too long to be told: it is read.
    telling.tell_lines(
        telling.SESSION_CHANNEL, [stored(transcript, "x" * 600_000), stored(other, "d")]
    )
    heard = {content[:3] for *_, content in lines(client.take(2))}
    assert heard == {"xxx", "d"}


def test_with_only_after_what_the_last_turn_changed_comes_first(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("old")
    transcript.begin_turn()
    transcript.say("a", "b", "c")
    transcript.change(1, "a, changed")
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id, after=2)
    assert [index for index, _, _ in lines(client.take(3))] == [1, 2, 3]


def test_after_rev_beyond_what_is_there_is_told_to_reload(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("a")
    client = connect(world.bob)
    answer = client.subscribe(sessionId=transcript.id, afterRev=40)
    assert client.next() == {"type": "resync", "data": answer}
    transcript.say("b")
    assert lines(client.take(1)) == [(1, 2, "b")]


def test_after_rev_replays_what_changed_since(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("a", "b", "c")
    transcript.change(0, "A")
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id, afterRev=2)
    assert lines(client.take(2)) == [(2, 3, "c"), (0, 4, "A")]
    assert client.is_silent()


def test_messages_nobody_told_of_arrive_from_the_rows(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id)
    transcript.say("a", tell=False)
    assert lines([client.next(within=1.5)]) == [(0, 1, "a")]
    transcript.say("b", tell=False)
    transcript.change(0, "A", tell=False)
    transcript.say("c")
    assert lines(client.take(3)) == [(1, 2, "b"), (0, 3, "A"), (2, 4, "c")]
    assert client.is_silent()


def test_every_message_arrives_once_and_in_order_while_many_are_written(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    def write() -> None:
        try:
            for number in range(100):
                transcript.say(f"{number} a", f"{number} b", tell=number % 7 != 0)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    watched = []
    for _ in range(8):
        client = connect(world.alice)
        client.subscribe(sessionId=transcript.id, afterRev=0)
        watched.append(client)
    writer.join()
    for client in watched:
        assert [rev for _, rev, _ in lines(client.take(200))] == list(range(1, 201))
        assert client.is_silent(0.05)


def test_a_long_transcript_is_sent_whole(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say(*[f"{number} {'x' * 500}" for number in range(3_000)], tell=False)
    client = connect(world.alice)
    client.subscribe(sessionId=transcript.id, after=-1)
    assert [index for index, _, _ in lines(client.take(3_000))] == list(range(3_000))


def test_a_transcript_goes_only_to_whoever_watches_it(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    client = connect(world.bob)
    client.subscribe(projectId=world.project.pk)
    transcript.say("a")
    transcript.delta(0, "a")
    assert client.is_silent()
    client.subscribe(sessionId=transcript.id)
    client.next()
    client.say("unsubscribe", sessionId=public_id("session", transcript.id))
    transcript.say("b")
    assert client.is_silent(1.0)


def test_an_outsider_may_not_watch_and_who_is_removed_watches_no_more(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    outsider, member = connect(world.charlie), connect(world.bob)
    outsider.say("subscribe", sessionId=transcript.id)
    assert outsider.next()["data"]["code"] == "not_found"
    member.subscribe(sessionId=transcript.id)
    ProjectMember.objects.all().delete()
    lost = member.next()
    assert lost["data"]["code"] == "not_found"
    assert lost["data"]["sessionId"] == public_id("session", transcript.id)
    transcript.say("secret")
    assert member.is_silent(1.0)


def test_a_deleted_session_ends_its_subscription(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id)
    transcript.session.delete()
    assert client.next()["data"]["code"] == "not_found"


def test_a_restored_session_means_resync(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("a", "b")
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id, after=1)
    AgentMessage.objects.filter(rev=2).delete()
    AgentSession.objects.filter(pk=transcript.id).update(next_rev=2, next_index=1)
    assert client.next() == {
        "type": "resync",
        "data": {"sessionId": public_id("session", transcript.id), "index": 0, "rev": 1},
    }


def test_a_queued_message_is_shown_and_so_is_what_becomes_of_it(
    connect: Connect, world: World, transcript: Transcript
) -> None:
    transcript.say("zero")
    card = transcript.session.card
    first = messages.post(card, "first", by=world.bob.pk)
    client = connect(world.bob)
    client.subscribe(sessionId=transcript.id)

    def next_frames(count: int) -> list[tuple[int | None, str, bool, bool]]:
        heard = [frame["data"] for frame in client.take(count)]
        return [(each["index"], each["content"], each["queued"], each["dropped"]) for each in heard]

    assert next_frames(2) == [(0, "zero", False, False), (None, "first", True, False)]
    messages.post(card, "second", by=world.bob.pk)
    assert next_frames(1) == [(None, "second", True, False)]
    messages.drop(card, first.pk)
    assert next_frames(1) == [(None, "first", False, True)]
