"""A sign-in that ends while it acts, or while a process still believes it, leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F

from apps.accounts import services
from apps.accounts.models import PersonalToken, User
from apps.configuration.store import AUTH_ENABLED
from apps.organizations.models import OrganizationMember
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROUNDS = 10
TOKEN = {"name": "ci", "scopes": ["read", "write"]}


def sender(client: Api, method: str, path: str, body: Any = b"") -> Callable[[], int]:
    def send() -> int:
        client.request(method, path, body, status=None)
        return int(client.response.status_code)

    return send


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/user/tokens", TOKEN),
        ("DELETE", "/api/user/tokens/{token}", b""),
        ("PATCH", "/api/auth/me", {"displayName": "Mallory"}),
        (
            "POST",
            "/api/auth/change-password",
            {"currentPassword": factories.PASSWORD, "newPassword": "better horse"},
        ),
        ("POST", "/api/auth/logout-all", b""),
        ("PUT", "/api/settings/auth", {"enabled": False}),
        ("POST", "/api/projects/{project}/members", {"email": "m@example.org", "role": "admin"}),
        ("PATCH", "/api/projects/{project}/members/{bob}", {"role": "admin"}),
        ("DELETE", "/api/projects/{project}/members/{bob}", b""),
        ("POST", "/api/organizations/{org}/members", {"email": "bob@example.org"}),
        ("PATCH", "/api/organizations/{org}/members/{charlie}", {"role": "admin"}),
        ("DELETE", "/api/organizations/{org}/members/{charlie}", b""),
    ],
)
def test_what_outlives_a_sign_in_is_not_done_by_one_that_was_revoked_elsewhere(
    project: Project, bob: User, charlie: User, root: User, method: str, path: str, body: Any
) -> None:
    member = OrganizationMember.Role.MEMBER
    organization = factories.make_organization(
        (root, OrganizationMember.Role.ADMIN), (charlie, member)
    )
    factories.make_token(root)
    token = PersonalToken.objects.get().pk
    client = Api(root)
    client.get("/api/auth/me")
    # As another process does it, of which this one hears within a second.
    User.objects.filter(pk=root.pk).update(token_version=F("token_version") + 1)
    before = User.objects.filter(pk=root.pk).values().get()
    place = path.format(
        project=project.pk, org=organization.pk, token=token, bob=bob.pk, charlie=charlie.pk
    )
    error = client.request(method, place, body, 401)
    assert error["code"] == "unauthenticated"
    after = User.objects.filter(pk=root.pk).values().get()
    # Trying a password notes that somebody signed in.
    assert {**after, "last_login": None} == {**before, "last_login": None}
    assert list(PersonalToken.objects.values_list("pk", flat=True)) == [token]
    assert list(project.memberships.values_list("user", "role")) == [(bob.pk, "member")]
    assert not project.invitations.exists()
    assert organization.memberships.count() == 2
    assert organization.memberships.get(user=charlie).role == member
    assert AUTH_ENABLED.get()


def test_a_token_made_while_all_of_them_end_ends_too(bob: User) -> None:
    for _ in range(ROUNDS):
        bob.refresh_from_db()
        make = sender(Api(bob), "POST", "/api/user/tokens", TOKEN)
        made, ended = at_once([make, sender(Api(bob), "POST", "/api/auth/logout-all")])
        assert made in (201, 401)
        assert ended == 200
        assert not PersonalToken.objects.exists()


def test_of_two_new_passwords_at_once_one_counts(bob: User) -> None:
    old = factories.PASSWORD
    for turn in range(3):
        bob.refresh_from_db()
        bodies = [
            {"currentPassword": old, "newPassword": f"{each} horse {turn}"}
            for each in ("better", "faster")
        ]
        path = "/api/auth/change-password"
        answers = at_once([sender(Api(bob), "POST", path, each) for each in bodies])
        assert answers.count(200) == 1
        assert set(answers) <= {200, 400, 401}
        old = bodies[answers.index(200)]["newPassword"]
        login = {"email": bob.email, "password": old}
        Api().post("/api/auth/login", login, 200)


def test_the_most_tokens_are_the_most_whoever_asks_at_once(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_TOKENS", 1)
    for _ in range(ROUNDS):
        answers = at_once([sender(Api(bob), "POST", "/api/user/tokens", TOKEN) for _ in range(4)])
        assert sorted(answers) == [201, 409, 409, 409]
        PersonalToken.objects.all().delete()


def test_no_token_stays_of_a_project_that_was_deleted_meanwhile(alice: User) -> None:
    for turn in range(ROUNDS):
        project = factories.make_project(alice, name=f"Garden {turn}")
        body = {**TOKEN, "projectId": project.pk}
        made, deleted = at_once(
            [
                sender(Api(alice), "POST", "/api/user/tokens", body),
                sender(Api(alice), "DELETE", f"/api/projects/{project.pk}"),
            ]
        )
        assert made in (201, 404)
        assert deleted == 204
        assert not PersonalToken.objects.exists()
