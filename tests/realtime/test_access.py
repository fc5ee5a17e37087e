from __future__ import annotations

import itertools

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.events.bus import create_stream
from apps.organizations.models import Organization, OrganizationMember
from apps.projects.memberships import membership
from apps.projects.models import Project
from apps.realtime import frames
from apps.realtime.access import Caller, Reach, still_valid, within_reach
from apps.realtime.reads import Asked, look
from apps.scripts import runs as scripts
from tests import factories
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


def test_a_look_costs_the_same_however_much_is_followed(world: World) -> None:
    made = [factories.make_project(world.alice, name=f"p{number}") for number in range(30)]
    talkers: list[frames.Talker] = []
    for project in made:
        card = factories.make_card(project)
        session = AgentSession.objects.create(project_id=project.pk, card=card)
        run = scripts.start(factories.make_script(project), by=world.alice.pk)
        talkers += [frames.Session(session.pk), frames.Run(run.pk)]
    callers = [Caller(each.pk, each.token_version, 1e12) for each in (world.alice, world.root)]

    def asked(count: int) -> Asked:
        projects = [frames.Project(project.pk) for project in made[:count]]
        reaches = {Reach(caller.user_id, each.id) for caller in callers for each in projects}
        return Asked(projects, talkers[: 2 * count], set(callers), reaches)

    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            found = look(asked(count))
        assert len(found.positions) == count
        assert len(found.revs) == 2 * count
        assert len(found.within_reach) == 2 * count
        return len(captured)

    assert queries(1) == queries(30) <= 9
