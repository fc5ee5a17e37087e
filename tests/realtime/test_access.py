from __future__ import annotations

import itertools

import pytest
from django.utils.timezone import now

from apps.accounts.models import User
from apps.events.bus import create_stream
from apps.organizations.models import Organization, OrganizationMember
from apps.projects.memberships import membership
from apps.projects.models import Project
from apps.realtime.access import Caller, Reach, still_valid, within_reach
from tests.realtime.conftest import World


def test_sockets_and_requests_agree_on_who_reaches_what(world: World) -> None:
    people = [world.alice, world.bob, world.charlie, world.root]
    dora = User.objects.create_user("dora@example.com", display_name="dora")
    organization = Organization.objects.create(name="Gardeners")
    OrganizationMember.objects.create(organization=organization, user=dora)
    shared = Project.objects.create(name="Shed", path="/srv/shed", organization=organization)
    orphan = Project.objects.create(name="Nobody's", path="/srv/nobody")
    for project in (shared, orphan):
        create_stream(project.pk)
    pairs = list(itertools.product([*people, dora], [world.project, shared, orphan]))
    expected = {
        Reach(user.pk, project.pk) for user, project in pairs if membership(user, project.pk)
    }
    assert within_reach({Reach(user.pk, project.pk) for user, project in pairs}) == expected
    assert Reach(dora.pk, shared.pk) in expected
    assert Reach(world.root.pk, orphan.pk) in expected
    assert len(expected) == 6


def test_a_caller_without_a_token_is_valid_only_while_accounts_are_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Caller(world.alice.pk, world.alice.token_version, None)
    signed_in = Caller(world.alice.pk, world.alice.token_version, now().timestamp() + 60)
    for enabled, valid in ((True, {signed_in}), (False, {signed_in, without})):
        monkeypatch.setattr("apps.realtime.access.auth_enabled", lambda on=enabled: on)
        assert still_valid({without, signed_in}) == valid
