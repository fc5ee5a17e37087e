from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User
from apps.common.ids import public_id
from apps.events import bus
from apps.events.models import EventStream, StoredEvent
from apps.projects.models import Project, ProjectMember
from tests.realtime.client import Client
from tests.realtime.conftest import World
from tests.realtime.processes import RedisServer

pytestmark = pytest.mark.process

Connect = Callable[[User], Client]


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames]


@pytest.mark.parametrize("spelling", [lambda pk: pk, str, lambda pk: public_id("project", pk)])
def test_a_subscriber_is_answered_first_and_then_hears_what_happens(
    connect: Connect, world: World, spelling: Callable[[int], Any]
) -> None:
    client = connect(world.alice)
    answer = client.subscribe(projectId=spelling(world.project.pk))
    stream = EventStream.objects.get(pk=world.project.pk)
    assert answer == {
        "projectId": public_id("project", world.project.pk),
        "epoch": stream.epoch,
        "seq": 0,
    }
    world.publish({"title": "Grüße"})
    assert client.next() == {
        "type": "card.updated",
        "seq": 1,
        "data": {"note": {"title": "Grüße"}},
    }


def test_every_point_in_history_can_be_replayed_from(connect: Connect, world: World) -> None:
    for _ in range(12):
        world.publish()
    epoch = EventStream.objects.get(pk=world.project.pk).epoch
    client = connect(world.bob)
    for seq in range(13):
        for since in (seq, str(seq), f"{epoch}:{seq}"):
            assert client.subscribe(projectId=world.project.pk, since=since)["seq"] == 12
            assert seqs(client.take(12 - seq)) == list(range(seq + 1, 13))
    world.publish()
    assert client.next()["seq"] == 13


@pytest.mark.parametrize("since", ["0123456789abcdef:0", 99])
def test_another_epoch_or_a_point_beyond_the_version_means_resync(
    connect: Connect, world: World, since: Any
) -> None:
    world.publish()
    client = connect(world.bob)
    answer = client.subscribe(projectId=world.project.pk, since=since)
    assert client.next() == {"type": "resync", "data": answer}
    world.publish()
    assert client.next()["seq"] == 2


def test_what_is_no_longer_kept_means_resync(connect: Connect, world: World) -> None:
    for _ in range(4):
        world.publish()
    StoredEvent.objects.filter(stream_id=world.project.pk, seq__lte=2).delete()
    client = connect(world.bob)
    client.subscribe(projectId=world.project.pk, since=1)
    assert client.next()["type"] == "resync"
    client.subscribe(projectId=world.project.pk, since=2)
    assert seqs(client.take(2)) == [3, 4]


def test_nothing_is_lost_repeated_or_out_of_order_while_many_publish(
    connect: Connect, world: World
) -> None:
    threads, each = 8, 25
    begun = threading.Barrier(threads + 1)

    def publish() -> None:
        begun.wait()
        try:
            for _ in range(each):
                world.publish()
        finally:
            connection.close()

    publishers = [threading.Thread(target=publish) for _ in range(threads)]
    clients = [connect(world.alice) for _ in range(10)]
    for publisher in publishers:
        publisher.start()
    begun.wait()
    received = []
    for number, client in enumerate(clients):
        # Some with a past, some without, all in the middle of it.
        since = {} if number % 2 else {"since": 0}
        first = client.subscribe(projectId=world.project.pk, **since)["seq"] if number % 2 else 0
        if not number % 2:
            client.subscribe(projectId=world.project.pk, since=0)
        received.append((client, first))
        time.sleep(0.01)
    for publisher in publishers:
        publisher.join()
    total = threads * each
    for client, first in received:
        assert seqs(client.take(total - first)) == list(range(first + 1, total + 1))
    assert all(client.is_silent(0.1) for client, _ in received)


def test_a_client_that_keeps_dropping_misses_nothing(connect: Connect, world: World) -> None:
    done = threading.Event()

    def publish() -> None:
        try:
            for _ in range(300):
                world.publish()
        finally:
            connection.close()
            done.set()

    publisher = threading.Thread(target=publish)
    publisher.start()
    heard: list[int] = []
    while not (done.is_set() and heard[-1:] == [300]):
        client = connect(world.alice)
        client.subscribe(projectId=world.project.pk, since=heard[-1] if heard else 0)
        until = time.monotonic() + 0.15
        while time.monotonic() < until and heard[-1:] != [300]:
            try:
                heard.append(client.next(within=0.1)["seq"])
            except TimeoutError:
                break
        client.socket.close()
    publisher.join()
    assert heard == list(range(1, 301))


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_without_redis_events_arrive_within_a_second_and_a_half(
    connect: Connect, world: World, redis: RedisServer, harm: str
) -> None:
    client = connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    world.publish()
    assert client.next()["seq"] == 1
    getattr(redis, harm)()
    for seq in range(2, 6):
        world.publish()
        # A disk that stalls holds up what has to be stored, which is another promise.
        stored = time.monotonic()
        assert client.next()["seq"] == seq
        assert time.monotonic() - stored < 1.5
    redis.thaw()
    redis.start()
    world.publish()
    assert client.next()["seq"] == 6


def test_when_redis_is_back_news_is_quick_again(
    connect: Connect, world: World, redis: RedisServer
) -> None:
    client = connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    redis.kill()
    world.publish()
    client.next()
    redis.start()
    time.sleep(2.5)
    delays = []
    for _ in range(10):
        started = time.monotonic()
        world.publish()
        client.next()
        delays.append(time.monotonic() - started)
    assert sorted(delays)[5] < 0.1


def test_a_change_whose_process_died_before_telling_arrives_all_the_same(
    connect: Connect, world: World
) -> None:
    client = connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    EventStream.objects.filter(pk=world.project.pk).update(version=1)
    StoredEvent.objects.create(
        stream_id=world.project.pk, seq=1, type="card.updated", data='{"note":1}'
    )
    assert client.next(within=1.5) == {"type": "card.updated", "seq": 1, "data": {"note": 1}}


def test_history_that_was_lost_begins_a_new_epoch_and_everybody_reloads(
    connect: Connect, world: World
) -> None:
    for _ in range(3):
        world.publish()
    client = connect(world.alice)
    before = client.subscribe(projectId=world.project.pk)
    StoredEvent.objects.filter(stream_id=world.project.pk, seq__gt=1).delete()
    EventStream.objects.filter(pk=world.project.pk).update(version=1)
    told = client.next()
    assert told["type"] == "resync"
    assert told["data"]["seq"] == 1
    assert told["data"]["epoch"] != before["epoch"]
    world.publish()
    assert client.next()["seq"] == 2


def test_a_restored_stream_with_another_epoch_means_resync(connect: Connect, world: World) -> None:
    client = connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    EventStream.objects.filter(pk=world.project.pk).update(epoch="restored", version=7)
    assert client.next()["data"] == {
        "projectId": public_id("project", world.project.pk),
        "epoch": "restored",
        "seq": 7,
    }


def test_subscriptions_add_up_and_end_one_by_one(connect: Connect, world: World) -> None:
    other = Project.objects.create(name="Shed", path="/srv/shed", owner=world.alice)
    bus.create_stream(other.pk)
    second = World(world.alice, world.bob, world.charlie, world.root, other)
    client = connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    client.subscribe(projectId=other.pk)
    world.publish("garden")
    second.publish("shed")
    assert {frame["data"]["note"] for frame in client.take(2)} == {"garden", "shed"}
    client.say("unsubscribe", projectId=world.project.pk)
    world.publish("garden again")
    second.publish("shed again")
    assert client.next()["data"]["note"] == "shed again"
    assert client.is_silent()


def test_an_outsider_gets_an_error_and_nothing_else(connect: Connect, world: World) -> None:
    client = connect(world.charlie)
    for project_id in (world.project.pk, 999_999):
        client.say("subscribe", projectId=project_id)
        answer = client.next()
        assert answer["type"] == "error"
        assert answer["data"]["code"] == "not_found"
    world.publish()
    assert client.is_silent()


def test_a_super_admin_may_follow_any_project(connect: Connect, world: World) -> None:
    client = connect(world.root)
    client.subscribe(projectId=world.project.pk)
    world.publish()
    assert client.next()["seq"] == 1


def test_a_member_who_is_removed_hears_no_more_within_a_second(
    connect: Connect, world: World
) -> None:
    client, other = connect(world.bob), connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    other.subscribe(projectId=world.project.pk)
    ProjectMember.objects.all().delete()
    started = time.monotonic()
    answer = client.next()
    assert time.monotonic() - started < 1.2
    assert answer["type"] == "error"
    assert answer["data"]["code"] == "not_found"
    assert answer["data"]["projectId"] == public_id("project", world.project.pk)
    world.publish()
    assert other.next()["seq"] == 1
    assert client.is_silent()


def test_a_deleted_project_says_so_last(connect: Connect, world: World) -> None:
    client = connect(world.bob)
    client.subscribe(projectId=world.project.pk)
    world.publish("last words")
    world.project.delete()
    assert client.next()["data"]["note"] == "last words"
    assert client.next()["data"]["code"] == "not_found"
