"""Sockets of programs, from real web processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.db.models import F

from apps.accounts import services, tokens
from apps.accounts.models import PersonalToken, User
from apps.events import telling
from tests import factories
from tests.client import Api
from tests.realtime.client import Client
from tests.realtime.conftest import World
from tests.realtime.processes import WebServer

pytestmark = [pytest.mark.process, pytest.mark.both_databases]


@pytest.fixture
def bearer(web: WebServer) -> Iterator[Callable[[str], Client]]:
    with ExitStack() as stack:
        yield lambda token: stack.enter_context(Client(web.url(f"?token={token}")))


def test_a_projects_token_follows_that_project_alone(
    bearer: Callable[[str], Client], world: World
) -> None:
    other = factories.make_project(world.alice, name="Other")
    session = factories.make_session(factories.make_card(other))
    client = bearer(factories.make_token(world.alice, "read", project_id=world.project.pk))
    client.subscribe(projectId=world.project.pk)
    world.publish()
    assert client.next()["seq"] == 1
    for topic in ({"projectId": other.pk}, {"sessionId": session.pk}):
        client.say("subscribe", **topic)
        answer = client.next()
        assert (answer["type"], answer["data"]["code"]) == ("error", "not_found")
    control = bearer(factories.make_token(world.alice, "read"))
    control.subscribe(projectId=other.pk)
    control.subscribe(sessionId=session.pk)


def test_what_a_person_is_told_of_other_projects_is_not_for_a_projects_token(
    bearer: Callable[[str], Client], world: World
) -> None:
    here = f"proj_{world.project.pk:03d}"
    client = bearer(factories.make_token(world.alice, "read", project_id=world.project.pk))
    control = bearer(factories.make_token(world.alice, "read"))
    for each in (client, control):
        each.subscribe(projectId=world.project.pk)
    for project in ("proj_999", None, here):
        telling.tell_user(world.alice.pk, json.dumps({"type": "x", "data": {"projectId": project}}))
    assert client.next()["data"]["projectId"] == here
    assert [each["data"]["projectId"] for each in control.take(3)] == ["proj_999", None, here]


def test_programs_are_not_told_the_email_addresses_of_members(
    bearer: Callable[[str], Client], world: World
) -> None:
    browser = bearer(tokens.issue(world.alice))
    bot = bearer(factories.make_token(world.alice, "read", project_id=world.project.pk))
    for client in (browser, bot):
        client.subscribe(projectId=world.project.pk)
    member = f"/api/projects/{world.project.pk}/members/{world.bob.pk}"
    Api(world.alice).patch(member, {"role": "admin"})
    told, heard = browser.next(), bot.next()
    assert told["data"]["email"] == world.bob.email
    assert heard == {**told, "data": {**told["data"], "email": None}}
    late = bearer(factories.make_token(world.alice, "read"))
    late.subscribe(projectId=world.project.pk, since=0)
    assert late.next() == heard


@pytest.mark.parametrize("told", [True, False])
def test_the_socket_of_a_revoked_token_closes_within_a_second_and_no_other(
    bearer: Callable[[str], Client], world: World, told: bool
) -> None:
    gone = bearer(factories.make_token(world.bob))
    token = PersonalToken.objects.get()
    kept = bearer(factories.make_token(world.bob))
    for client in (gone, kept):
        client.subscribe(projectId=world.project.pk)
    started = time.monotonic()
    if told:
        services.revoke_token(token, by=world.bob)
    else:
        token.delete()
    assert gone.close_code() == 4001
    assert time.monotonic() - started < 1.2
    world.publish()
    assert kept.next()["type"] == "card.updated"


@pytest.mark.parametrize("told", [True, False])
def test_a_new_password_ends_the_sockets_of_sign_ins_and_of_no_program(
    bearer: Callable[[str], Client], world: World, told: bool
) -> None:
    world.bob.set_password(factories.PASSWORD)
    world.bob.save()
    browser = bearer(tokens.issue(world.bob))
    program = factories.make_token(world.bob)
    bot = bearer(program)
    for client in (browser, bot):
        client.subscribe(projectId=world.project.pk)
    if told:
        body = {"currentPassword": factories.PASSWORD, "newPassword": "better horse"}
        Api(world.bob).post("/api/auth/change-password", body, 200)
    else:
        User.objects.filter(pk=world.bob.pk).update(token_version=F("token_version") + 1)
    assert browser.close_code() == 4001
    assert bot.is_silent(1.2)
    world.publish()
    assert bot.next()["type"] == "card.updated"
    Api(program).get(f"/api/projects/{world.project.pk}")


def test_signing_out_everywhere_ends_the_sockets_of_programs_too(
    bearer: Callable[[str], Client], world: World
) -> None:
    clients = [bearer(tokens.issue(world.bob)), bearer(factories.make_token(world.bob))]
    for client in clients:
        client.subscribe(projectId=world.project.pk)
    started = time.monotonic()
    Api(world.bob).post("/api/auth/logout-all", status=200)
    assert [client.close_code() for client in clients] == [4001, 4001]
    assert time.monotonic() - started < 1.2


def test_a_token_that_has_run_out_or_is_none_opens_no_socket(
    bearer: Callable[[str], Client], world: World
) -> None:
    late = factories.make_token(world.bob)
    PersonalToken.objects.update(expires_at="2020-01-01T00:00:00Z")
    for token in (late, "kba_" + "x" * 43):
        assert bearer(token).close_code() == 4001
