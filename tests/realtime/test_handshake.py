from __future__ import annotations

import json
import time
from collections.abc import Callable

import jwt
import pytest

from apps.accounts import tokens
from apps.accounts.models import User
from apps.common.envelope import dumps
from apps.events import telling
from tests.realtime.client import Client
from tests.realtime.conftest import World
from tests.realtime.processes import WebServer

pytestmark = pytest.mark.process

Connect = Callable[[User], Client]


def test_without_a_token_or_with_a_bad_one_the_socket_closes_with_4001(
    web: WebServer, world: World
) -> None:
    for query in ("", "?token=", "?token=nonsense", "?auth=never"):
        with Client(web.url(query)) as client:
            assert client.close_code() == 4001


def test_a_token_may_come_in_the_first_frame(web: WebServer, world: World) -> None:
    with Client(web.url("?auth=frame")) as client:
        client.say("auth", token=tokens.issue(world.alice))
        client.subscribe(projectId=world.project.pk)
        world.publish()
        assert client.next()["seq"] == 1


@pytest.mark.parametrize(
    "first",
    [
        {"type": "auth", "payload": {"token": "nonsense"}},
        {"type": "auth"},
        {"type": "subscribe", "payload": {"projectId": 1}},
    ],
)
def test_a_first_frame_without_a_good_token_closes_with_4001(
    web: WebServer, world: World, first: object
) -> None:
    with Client(web.url("?auth=frame")) as client:
        client.socket.send(json.dumps(first))
        assert client.close_code() == 4001


def test_a_first_frame_is_awaited_for_five_seconds(web: WebServer, world: World) -> None:
    with Client(web.url("?auth=frame")) as client:
        started = time.monotonic()
        assert client.close_code(within=7) == 4001
        assert 4.5 < time.monotonic() - started < 6


def test_an_expired_token_closes_with_4001_within_a_second(web: WebServer, world: World) -> None:
    claims = jwt.decode(tokens.issue(world.alice), options={"verify_signature": False})
    claims["exp"] = time.time() + 2
    token = jwt.encode({**claims, "exp": int(claims["exp"])}, tokens._key(), algorithm="HS256")
    with Client(web.url(f"?token={token}")) as client:
        client.subscribe(projectId=world.project.pk)
        assert client.close_code() == 4001
        assert -0.1 < time.time() - int(claims["exp"]) < 1.2


@pytest.mark.parametrize("how", ["revoke", "deactivate", "delete"])
def test_a_revoked_caller_is_noticed_within_a_second(
    connect: Connect, world: World, how: str
) -> None:
    client = connect(world.bob)
    client.subscribe(projectId=world.project.pk)
    bob = User.objects.filter(pk=world.bob.pk)
    if how == "revoke":
        bob.update(token_version=7)
    elif how == "deactivate":
        bob.update(is_active=False)
    else:
        bob.delete()
    started = time.monotonic()
    assert client.close_code() == 4001
    assert time.monotonic() - started < 1.2


def test_a_revocation_that_is_told_closes_at_once_and_is_not_forwarded(
    connect: Connect, world: World
) -> None:
    client, other = connect(world.bob), connect(world.alice)
    client.subscribe(projectId=world.project.pk)
    other.subscribe(projectId=world.project.pk)
    started = time.monotonic()
    telling.tell_user(world.bob.pk, '{"type":"revoked"}')
    assert client.close_code() == 4001
    assert time.monotonic() - started < 0.5
    assert other.is_silent()


def test_notifications_go_to_the_users_own_sockets_only(connect: Connect, world: World) -> None:
    first, second, other = connect(world.bob), connect(world.bob), connect(world.alice)
    for client in (first, second, other):
        client.subscribe(projectId=world.project.pk)
    frame = dumps({"type": "notification", "data": {"text": "done"}}).decode()
    telling.tell_user(world.bob.pk, frame)
    assert first.next() == second.next() == json.loads(frame)
    assert other.is_silent()


def frame(**message: object) -> str:
    return json.dumps(message)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("", "invalid"),
        ("{", "invalid"),
        ("[]", "invalid"),
        ("null", "invalid"),
        (frame(type=5), "invalid"),
        (frame(type="dance", payload={}), "unknown_type"),
        (frame(type="subscribe"), "invalid"),
        (frame(type="subscribe", payload=[]), "invalid"),
        (frame(type="subscribe", payload={}), "invalid"),
        (frame(type="subscribe", payload={"projectId": True}), "invalid"),
        (frame(type="subscribe", payload={"projectId": -1}), "invalid"),
        (frame(type="subscribe", payload={"projectId": 10**30}), "invalid"),
        (frame(type="subscribe", payload={"projectId": "card_001"}), "invalid"),
        (frame(type="subscribe", payload={"projectId": 1, "sessionId": 1}), "invalid"),
        (frame(type="subscribe", payload={"projectId": 1, "since": "soon"}), "invalid"),
        (frame(type="subscribe", payload={"projectId": 1, "since": -1}), "invalid"),
        (frame(type="subscribe", payload={"sessionId": 1, "after": 1.5}), "invalid"),
        (frame(type="subscribe", payload={"runId": "run_001"}), "not_found"),
        (frame(type="subscribe", payload={"sessionId": "sess_999999"}), "not_found"),
        (frame(type="auth", payload={"token": "again"}), "already_authenticated"),
        (b"\x00\x01", "invalid"),
        (frame(type="subscribe", payload={"projectId": 1, "x": "é" * 40_000}), "too_large"),
        (frame(type="subscribe", payload={"x": "x" * 500_000}), "too_large"),
        ("[" * 60_000, "invalid"),
    ],
)
def test_a_bad_message_is_answered_and_never_closes_the_socket(
    connect: Connect, world: World, sent: str | bytes, code: str
) -> None:
    client = connect(world.alice)
    client.socket.send(sent)
    answer = client.next()
    assert answer["type"] == "error"
    assert answer["data"]["code"] == code
    assert answer["data"]["message"].endswith(".")
    client.subscribe(projectId=world.project.pk)
