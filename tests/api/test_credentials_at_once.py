"""Credentials that go at the very moment in which somebody takes them into use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents.models import AgentSession
from apps.boards.models import Column
from apps.organizations.models import Organization, OrganizationMember
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROUNDS = 25
Send = Callable[[], int]


def sender(who: User, method: str, path: str, body: Any = b"") -> Send:
    def send() -> int:
        api = Api(who)
        api.request(method, path, body, status=None)
        return int(api.response.status_code)

    return send


def deleting(who: User, credential_id: int) -> Send:
    return sender(who, "DELETE", f"/api/credentials/{credential_id}")


@pytest.fixture
def organization(project: Project, alice: User) -> Organization:
    made = factories.make_organization((alice, OrganizationMember.Role.ADMIN))
    project.organization = made
    project.save(update_fields=["organization"])
    return made


@pytest.mark.parametrize("to", ["card", "project", "organization"])
def test_a_credential_that_is_assigned_while_it_is_deleted_is_assigned_to_nobody(
    project: Project, organization: Organization, alice: User, to: str
) -> None:
    card = factories.make_card(project)
    taker, path = {
        "card": (card, f"/api/projects/{project.pk}/cards/{card.pk}/credential"),
        "project": (project, f"/api/projects/{project.pk}/credential"),
        "organization": (organization, f"/api/organizations/{organization.pk}/default-credential"),
    }[to]
    name = "default_credential_id" if to == "organization" else "credential_id"
    for _ in range(ROUNDS):
        key = factories.make_credential(alice).pk
        assign = sender(alice, "PUT", path, {"credentialId": key})
        assigned, deleted = at_once([assign, deleting(alice, key)])
        assert deleted == 204
        assert assigned in (200, 404)
        taker.refresh_from_db()
        assert getattr(taker, name) is None


def test_two_credentials_of_the_same_projects_can_go_at_once(
    project: Project, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    other = factories.make_project(alice, name="Other")
    one, two = factories.make_card(project), factories.make_card(other)
    for _ in range(ROUNDS):
        keys = [factories.make_credential(alice) for _ in range(2)]
        # To each its project and the other's card.
        for place, (card, key) in enumerate(zip((one, two), keys, strict=True)):
            type(card).objects.filter(pk=card.pk).update(credential=key)
            holder = (other, project)[place]
            type(holder).objects.filter(pk=holder.pk).update(credential=key)
        assert at_once([deleting(alice, key.pk) for key in keys]) == [204, 204]
    assert "ran into another" not in caplog.text


def test_an_agent_that_starts_while_its_organizations_key_is_deleted_has_it_or_is_deferred(
    project: Project, organization: Organization, alice: User
) -> None:
    active: Column = factories.column(project, "active")
    cards = f"/api/projects/{project.pk}/cards"
    for _ in range(ROUNDS):
        organization.default_credential = factories.make_credential(
            alice, provider="openai-compatible", base_url="http://127.0.0.1:9", model="m"
        )
        organization.save(update_fields=["default_credential"])
        card = factories.make_card(project)
        start = sender(alice, "PATCH", f"{cards}/{card.pk}/move", {"columnId": active.pk})
        going = deleting(alice, organization.default_credential.pk)
        assert at_once([start, going]) == [200, 204]
        card.refresh_from_db()
        session = AgentSession.objects.filter(card=card).first()
        assert (session is None) == (card.deferred_code == "no_credential")
        assert session is None or session.credential_id is None
