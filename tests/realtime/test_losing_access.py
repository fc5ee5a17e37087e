"""Whoever may no longer see a project stops hearing of it, whichever way the access was taken (W8)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.boards.services import make_first_board
from apps.cards.models import Card
from apps.common.ids import public_id
from apps.organizations.models import OrganizationMember
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.realtime.client import Client
from tests.realtime.conftest import World

pytestmark = pytest.mark.process

Connect = Callable[[User], Client]
WITHIN_S = 1.2


@pytest.fixture
def card(world: World) -> Card:
    make_first_board(world.project)
    return factories.make_card(world.project)


def lost(client: Client, **topic: str) -> bool:
    """Whether the next frame says so, in time."""
    started = time.monotonic()
    frame = client.next()
    assert time.monotonic() - started < WITHIN_S
    assert (frame["type"], frame["data"]["code"]) == ("error", "not_found"), frame
    return topic.items() <= frame["data"].items()


def heard(client: Client) -> tuple[str, str | None]:
    frame: dict[str, Any] = client.next()
    return frame["type"], frame["data"]["userId"]


@pytest.mark.parametrize("by", ["alice", "bob"])
def test_a_member_who_is_removed_or_leaves_hears_that_and_then_no_more(
    connect: Connect, world: World, card: Card, by: str
) -> None:
    session = factories.make_session(card).pk
    gone, stays = connect(world.bob), connect(world.alice)
    gone.subscribe(projectId=world.project.pk)
    gone.subscribe(sessionId=session)
    stays.subscribe(projectId=world.project.pk)
    Api(getattr(world, by)).delete(f"/api/projects/{world.project.pk}/members/{world.bob.pk}")
    removed = ("member.removed", public_id("user", world.bob.pk))
    assert heard(stays) == heard(gone) == removed
    assert lost(gone, projectId=public_id("project", world.project.pk))
    assert lost(gone, sessionId=public_id("session", session))
    world.publish()
    assert stays.next()["type"] == "card.updated"
    assert gone.is_silent()
    gone.say("subscribe", projectId=world.project.pk)
    assert lost(gone)


@pytest.mark.parametrize("how", ["removed", "organization left"])
def test_who_reaches_it_in_another_way_too_goes_on_hearing(
    connect: Connect, world: World, how: str
) -> None:
    organization = factories.make_organization((world.alice, "admin"), (world.bob, "member"))
    Project.objects.filter(pk=world.project.pk).update(organization=organization)
    client = connect(world.bob)
    client.subscribe(projectId=world.project.pk)
    place = (
        f"/api/projects/{world.project.pk}"
        if how == "removed"
        else f"/api/organizations/{organization.pk}"
    )
    Api(world.alice).delete(f"{place}/members/{world.bob.pk}")
    if how == "removed":
        assert heard(client)[0] == "member.removed"
    assert client.is_silent(WITHIN_S)
    world.publish()
    assert client.next()["type"] == "card.updated"


def test_who_leaves_an_organization_hears_no_more_of_its_projects(
    connect: Connect, world: World
) -> None:
    organization = factories.make_organization(
        (world.alice, "admin"), (world.charlie, OrganizationMember.Role.MEMBER)
    )
    Project.objects.filter(pk=world.project.pk).update(organization=organization)
    client = connect(world.charlie)
    client.subscribe(projectId=world.project.pk)
    url = f"/api/organizations/{organization.pk}/members"
    # A role does not change what one hears.
    Api(world.alice).patch(f"{url}/{world.charlie.pk}", {"role": "admin"})
    world.publish()
    assert client.next()["type"] == "card.updated"
    Api(world.alice).delete(f"{url}/{world.charlie.pk}")
    assert lost(client, projectId=public_id("project", world.project.pk))
    world.publish()
    assert client.is_silent()


def test_what_one_has_read_is_told_to_ones_own_browsers_only(
    connect: Connect, world: World, card: Card
) -> None:
    first, second, other = connect(world.bob), connect(world.bob), connect(world.alice)
    for client in (first, second, other):
        client.subscribe(projectId=world.project.pk)
    Api(world.bob).post(f"/api/projects/{world.project.pk}/mark-all-read", status=204)
    wire = public_id("project", world.project.pk)
    expected = {"type": "card.read", "data": {"id": None, "projectId": wire}}
    assert first.next() == second.next() == expected
    assert other.is_silent()
