"""`GET /api/cards/{id}/status?wait=`: answered when something happens, by the process's hub."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from apps.accounts import tokens
from apps.accounts.models import User
from apps.boards.models import Board, Column
from apps.cards import services
from apps.cards.models import Card
from apps.projects.models import ProjectMember
from tests.realtime.conftest import World
from tests.realtime.processes import RedisServer, WebServer

pytestmark = [pytest.mark.process, pytest.mark.both_databases]

Ask = Callable[..., "Future[tuple[int, dict[str, str], Any]]"]


@pytest.fixture
def card(world: World) -> Card:
    project = world.project
    board = Board.objects.create(project=project, name="Board", position=0)
    column = Column.objects.create(
        project=project, board=board, name="Doing", column_type="active", position=0
    )
    return Card.objects.create(project=project, column=column, position=0, title="Dig")


@pytest.fixture
def ask(web: WebServer, card: Card) -> Iterator[Ask]:
    """Begins a request in a thread of its own: status, headers and what is in `data` or `error`."""
    pool = ThreadPoolExecutor(16)
    issued: dict[int, str] = {}

    def get(user: User | None, query: str, headers: dict[str, str]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
        if user is not None and "Authorization" not in headers:
            token = issued.setdefault(user.pk, tokens.issue(user))
            headers = {**headers, "Authorization": f"Bearer {token}"}
        connection.request("GET", f"/api/cards/{card.pk}/status{query}", headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        body = json.loads(text) if text else {}
        return answer.status, dict(answer.headers), body.get("data", body.get("error"))

    def begin(user: User | None, query: str, **headers: str) -> Any:
        return pool.submit(get, user, query, headers)

    yield begin
    pool.shutdown()


def set_status(card: Card, status: str) -> float:
    services.set_agent_status(card.pk, status, noted=False)
    return time.monotonic()


def test_the_answer_comes_with_the_change(ask: Ask, world: World, card: Card) -> None:
    assert ask(world.bob, "?wait=1").result()[2]["agentStatus"] is None
    began = time.monotonic()
    assert ask(world.bob, "?wait=1&known=null").result()[2]["agentStatus"] is None
    assert time.monotonic() - began >= 1
    waiting = ask(world.bob, "?wait=15")
    time.sleep(0.5)
    assert not waiting.done()
    changed = set_status(card, "running")
    status, _, data = waiting.result()
    assert (status, data["agentStatus"]) == (200, "running")
    assert time.monotonic() - changed < 2
    at_once = time.monotonic()
    assert ask(world.bob, "?wait=15&known=").result()[2]["agentStatus"] == "running"
    assert ask(world.bob, "?wait=15&known=queued").result()[2]["agentStatus"] == "running"
    assert time.monotonic() - at_once < 5


def test_the_time_is_kept_and_an_answer_is_not_kept(ask: Ask, world: World, card: Card) -> None:
    for _ in range(2):
        began = time.monotonic()
        status, headers, _ = ask(world.bob, "?wait=1").result()
        assert status == 200
        assert 1 <= time.monotonic() - began < 4
    etag = headers.get("ETag") or headers["etag"]
    assert ask(world.bob, "?wait=1", **{"If-None-Match": etag}).result()[0] == 304
    waiting = ask(world.bob, "?wait=15", **{"If-None-Match": etag})
    time.sleep(0.3)
    set_status(card, "running")
    assert waiting.result()[2]["agentStatus"] == "running"


def test_other_changes_of_the_project_do_not_end_the_wait(
    ask: Ask, world: World, card: Card
) -> None:
    waiting = ask(world.bob, "?wait=3")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        world.publish(f"card_{card.pk:03d}")
        world.publish()
    assert not waiting.done()
    assert waiting.result()[2]["agentStatus"] is None


def test_whoever_may_not_see_the_card_does_not_wait(ask: Ask, world: World, card: Card) -> None:
    began = time.monotonic()
    assert ask(world.charlie, "?wait=15").result()[0] == 404
    assert ask(None, "?wait=15").result()[0] == 401
    assert ask(world.bob, "?wait=x").result()[0] == 400
    assert time.monotonic() - began < 5
    waiting = ask(world.bob, "?wait=15")
    time.sleep(0.3)
    ProjectMember.objects.filter(user=world.bob).delete()
    set_status(card, "running")
    assert waiting.result()[0] == 404


def test_four_waits_at_once_and_no_more(ask: Ask, world: World, card: Card) -> None:
    four = [ask(world.bob, "?wait=10") for _ in range(4)]
    time.sleep(0.5)
    status, headers, error = ask(world.bob, "?wait=10").result()
    assert (status, error["code"]) == (429, "rate_limited")
    assert headers.get("Retry-After") or headers["retry-after"]
    assert ask(world.bob, "").result()[0] == 200
    others = ask(world.alice, "?wait=10")
    set_status(card, "queued")
    assert {each.result()[2]["agentStatus"] for each in [*four, others]} == {"queued"}
    assert ask(world.bob, "?wait=1").result()[0] == 200


def test_whoever_goes_away_waits_no_more(
    ask: Ask, web: WebServer, world: World, card: Card
) -> None:
    token = tokens.issue(world.bob)
    bearer = {"Authorization": f"Bearer {token}"}
    for _ in range(3):
        going = []
        for _ in range(4):
            connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
            connection.request("GET", f"/api/cards/{card.pk}/status?wait=60", headers=bearer)
            going.append(connection)
        time.sleep(0.3)
        for connection in going:
            connection.close()
        time.sleep(0.5)
    assert ask(world.bob, "?wait=1", **bearer).result()[0] == 200


def test_the_change_is_seen_without_redis(
    ask: Ask, world: World, card: Card, redis: RedisServer
) -> None:
    redis.kill()
    waiting = ask(world.bob, "?wait=15")
    time.sleep(0.5)
    changed = set_status(card, "running")
    assert waiting.result()[2]["agentStatus"] == "running"
    assert time.monotonic() - changed < 3


def test_many_waits_hold_up_nobody(ask: Ask, web: WebServer, world: World, card: Card) -> None:
    people = [
        User.objects.create_user(f"p{number}@example.com", display_name="p") for number in range(10)
    ]
    for person in people:
        ProjectMember.objects.create(project=world.project, user=person)
    answers: list[str] = []

    def wait(person: User) -> None:
        answers.append(ask(person, "?wait=15").result()[2]["agentStatus"])

    threads = [threading.Thread(target=wait, args=[person]) for person in people]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert ask(world.alice, "").result()[0] == 200
    assert time.monotonic() - began < 2
    set_status(card, "running")
    for thread in threads:
        thread.join()
    assert answers == ["running"] * 10
