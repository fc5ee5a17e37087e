from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, get_resolver

from apps.accounts.models import User
from apps.organizations.models import Organization, OrganizationMember
from apps.organizations.views import OrganizationScopedViewSet
from apps.projects.models import Project
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = pytest.mark.django_db

Role = OrganizationMember.Role
EVERYWHERE = "/api/organizations"


@pytest.fixture
def organization(alice: User, bob: User) -> Organization:
    return factories.make_organization((alice, Role.ADMIN), (bob, Role.MEMBER))


@pytest.fixture
def url(organization: Organization) -> str:
    return f"{EVERYWHERE}/org_{organization.pk:03d}"


def member(user: User) -> str:
    return f"/members/user_{user.pk:03d}"


def test_whoever_makes_an_organization_is_its_admin(api: Any, charlie: User) -> None:
    made = api(charlie).post(EVERYWHERE, {"name": "  My Team "})
    assert made["name"] == "My Team"
    assert made["id"].startswith("org_")
    assert (made["role"], made["memberCount"], made["defaultCredentialId"]) == ("admin", 1, None)
    assert api(charlie).get(EVERYWHERE) == [made]
    assert api(charlie).get(f"{EVERYWHERE}/{made['id']}") == made
    api(None).post(EVERYWHERE, {"name": "x"}, 401)


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "  "}, {"name": 5}, {"name": "x" * 201}]
)
def test_an_organization_needs_a_name(api: Any, alice: User, url: str, body: Any) -> None:
    api(alice).post(EVERYWHERE, body, 400)
    if body:
        assert "name" in api(alice).patch(url, body, 400)["message"]


def test_the_list_holds_ones_own_in_their_order(
    api: Any, alice: User, bob: User, charlie: User, root: User, organization: Organization
) -> None:
    second = factories.make_organization((bob, Role.ADMIN), name="Second")
    found = api(bob).get(EVERYWHERE)
    assert [(each["name"], each["role"], each["memberCount"]) for each in found] == [
        ("Gardeners", "member", 2),
        ("Second", "admin", 1),
    ]
    assert [each["name"] for each in api(alice).get(EVERYWHERE)] == ["Gardeners"]
    assert api(charlie).get(EVERYWHERE) == []
    # Belongs to none, but opens any.
    assert api(root).get(EVERYWHERE) == []
    assert api(root).get(f"{EVERYWHERE}/{second.pk}")["role"] == "admin"


def test_what_has_not_changed_is_not_sent_again(api: Any, alice: User, url: str) -> None:
    client = api(alice)
    for path in (EVERYWHERE, url, f"{url}/members"):
        client.get(path)
        etag = client.response["ETag"]
        assert client.get(path, 304, If_None_Match=etag) is None


def test_lists_take_the_same_queries_however_long(
    api: Any, alice: User, organization: Organization, url: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        someone = factories.make_user(f"someone{number}")
        OrganizationMember.objects.create(organization=organization, user=someone)
        factories.make_organization((alice, Role.ADMIN), name=str(number))
    client = api(alice)
    client.get(url)
    for path, count in ((EVERYWHERE, 1), (url, 1), (f"{url}/members", 2)):
        # One more where the caller is looked up again.
        with django_assert_max_num_queries(count + 1):
            client.get(path)


def test_an_admin_renames(api: Any, alice: User, bob: User, url: str) -> None:
    renamed = api(alice).patch(url, {"name": "Renamed Team"})
    assert (renamed["name"], renamed["memberCount"]) == ("Renamed Team", 2)
    assert api(alice).patch(url, {}) == renamed
    assert api(bob).get(url)["name"] == "Renamed Team"


def test_members_are_listed_added_changed_and_removed(
    api: Any, alice: User, bob: User, charlie: User, url: str
) -> None:
    keys = ("userId", "email", "displayName", "role")
    listed = [tuple(each[key] for key in keys) for each in api(bob).get(f"{url}/members")]
    assert listed == [
        (f"user_{alice.pk:03d}", "alice@example.org", "Alice", "admin"),
        (f"user_{bob.pk:03d}", "bob@example.org", "Bob", "member"),
    ]
    added = api(alice).post(f"{url}/members", {"email": " Charlie@Example.org "})
    assert (added["userId"], added["role"]) == (f"user_{charlie.pk:03d}", "member")
    assert api(charlie).get(f"{url}/members")[2] == added
    changed = api(alice).patch(f"{url}{member(charlie)}", {"role": "admin"})
    assert changed == {**added, "role": "admin"}
    api(charlie).delete(f"{url}{member(bob)}")
    api(bob).get(url, 404)
    api(charlie).delete(f"{url}{member(bob)}", 404)
    api(charlie).patch(f"{url}{member(bob)}", {"role": "admin"}, 404)


def test_who_has_no_account_or_is_there_already_is_not_added(
    api: Any, alice: User, bob: User, url: str
) -> None:
    error = api(alice).post(f"{url}/members", {"email": "dora@example.org"}, 404)
    assert error["code"] == "user_not_found"
    assert "account" in error["message"]
    User.objects.filter(pk=factories.make_user("gone").pk).update(is_active=False)
    User.objects.filter(pk=factories.make_user("stand-in").pk).update(is_local=True)
    for name in ("gone", "stand-in"):
        api(alice).post(f"{url}/members", {"email": f"{name}@example.org"}, 404)
    error = api(alice).post(f"{url}/members", {"email": bob.email, "role": "admin"}, 409)
    assert error["code"] == "already_member"
    assert api(alice).get(f"{url}/members")[1]["role"] == "member"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "nonsense"},
        {"email": None},
        {"email": "a\0b@example.org"},
        {"email": "charlie@example.org", "role": "owner"},
        {"email": "charlie@example.org", "role": None},
        {"email": "charlie@example.org", "role": ["admin"]},
    ],
)
def test_a_bad_invitation_is_a_400(
    api: Any, alice: User, charlie: User, url: str, body: Any
) -> None:
    api(alice).post(f"{url}/members", body, 400)
    assert len(api(alice).get(f"{url}/members")) == 2


@pytest.mark.parametrize("body", [{}, {"role": "root"}, {"role": None}, {"role": True}])
def test_a_bad_role_is_a_400(api: Any, alice: User, bob: User, url: str, body: Any) -> None:
    api(alice).patch(f"{url}{member(bob)}", body, 400)


def test_the_last_admin_stays(api: Any, alice: User, bob: User, root: User, url: str) -> None:
    for person in (alice, root):
        error = api(person).delete(f"{url}{member(alice)}", 409)
        assert error["code"] == "last_admin"
        api(person).patch(f"{url}{member(alice)}", {"role": "member"}, 409)
    api(alice).patch(f"{url}{member(alice)}", {"role": "admin"})
    api(alice).patch(f"{url}{member(bob)}", {"role": "admin"})
    api(alice).delete(f"{url}{member(alice)}")
    api(alice).get(url, 404)
    api(bob).delete(f"{url}{member(bob)}", 409)


def test_a_member_may_leave_but_remove_nobody(
    api: Any, alice: User, bob: User, charlie: User, organization: Organization, url: str
) -> None:
    OrganizationMember.objects.create(organization=organization, user=charlie)
    api(bob).delete(f"{url}{member(charlie)}", 403)
    api(bob).delete(f"{url}{member(bob)}")
    api(bob).get(url, 404)
    api(charlie).get(url)


def test_an_organization_with_projects_is_not_deleted(
    api: Any, alice: User, project: Project, organization: Organization, url: str
) -> None:
    Project.objects.filter(pk=project.pk).update(organization=organization)
    assert api(alice).delete(url, 409)["code"] == "organization_has_projects"
    api(alice).delete(f"/api/projects/{project.pk}")
    api(alice).delete(url)
    api(alice).get(url, 404)
    assert not OrganizationMember.objects.exists()


def test_a_default_credential_is_ones_own_and_can_be_taken_away(
    api: Any, alice: User, bob: User, root: User, url: str
) -> None:
    mine, bobs = factories.make_credential(alice), factories.make_credential(bob)
    place = f"{url}/default-credential"
    wire = f"cred_{mine.pk:03d}"
    assert api(alice).put(place, {"credentialId": wire})["defaultCredentialId"] == wire
    assert api(bob).get(url)["defaultCredentialId"] == wire
    api(alice).put(place, {"credentialId": bobs.pk}, 404)
    api(alice).put(place, {"credentialId": 10**17}, 404)
    api(alice).put(place, {}, 400)
    api(alice).put(place, {"credentialId": "cred_x"}, 400)
    api(root).put(place, {"credentialId": bobs.pk})
    api(bob).delete(f"/api/credentials/{bobs.pk}")
    assert api(alice).get(url)["defaultCredentialId"] is None
    api(alice).put(place, {"credentialId": mine.pk})
    assert api(alice).put(place, {"credentialId": None})["defaultCredentialId"] is None


def _routes() -> Iterator[tuple[str, str, str, type[OrganizationScopedViewSet]]]:
    for resolver in get_resolver().url_patterns:
        for pattern in getattr(resolver, "url_patterns", []):
            viewset = getattr(pattern.callback, "cls", object)
            if "<organization:" in str(pattern.pattern):
                assert isinstance(pattern, URLPattern)
                assert issubclass(viewset, OrganizationScopedViewSet), pattern.pattern
                for method, action in pattern.callback.actions.items():  # type: ignore[attr-defined]
                    if method != "head":
                        yield f"/api/{pattern.pattern}", method.upper(), action, viewset


ROUTES = list(_routes())


def test_every_action_has_a_role() -> None:
    assert len(ROUTES) == 8
    for viewset in {each[3] for each in ROUTES}:
        assert viewset.roles.keys() == {each[2] for each in ROUTES if each[3] is viewset}


@pytest.mark.parametrize(
    ("route", "method", "action", "viewset"), ROUTES, ids=[f"{e[1]} {e[0]}" for e in ROUTES]
)
def test_outsiders_get_a_404_and_members_a_403_for_what_is_the_admins(
    api: Any,
    request: pytest.FixtureRequest,
    organization: Organization,
    bob: User,
    route: str,
    method: str,
    action: str,
    viewset: type[OrganizationScopedViewSet],
) -> None:
    factories.make_user("eve", role="admin")
    path = route.replace("<organization:organization_id>", str(organization.pk))
    path = path.replace("<user:user_id>", str(bob.pk))
    people: dict[str, User | None] = {
        "nobody": None,
        "global admin": User.objects.get(email="eve@example.org"),
        **{name: request.getfixturevalue(name) for name in ("charlie", "alice", "root")},
    }
    expected = {"nobody": [401], "global admin": [404], "charlie": [404]}
    may = [200, 201, 204, 400]
    for name, user in {**people, "bob": bob}.items():
        OrganizationMember.objects.get_or_create(organization=organization, user=bob)
        client = api(user)
        client.request(method, path, {}, status=None)
        allowed = expected.get(name, may)
        if name == "bob" and viewset.roles[action] == Role.ADMIN:
            allowed = [403]
        if name == "root" and action == "destroy" and "user_id" not in route:
            allowed = [404]  # alice has just deleted it
        assert client.response.status_code in allowed, (name, client.response.content)
        if not Organization.objects.filter(pk=organization.pk).exists():
            break


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_eight_additions_of_one_person_make_one_member(
    alice: User, charlie: User, organization: Organization, url: str
) -> None:
    def add() -> int:
        client = Api(alice)
        client.request("POST", f"{url}/members", {"email": charlie.email}, status=None)
        return int(client.response.status_code)

    assert Counter(at_once([add] * 8)) == {201: 1, 409: 7}
    assert OrganizationMember.objects.filter(organization=organization, user=charlie).count() == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_go_at_once_one_stays(
    alice: User, bob: User, organization: Organization, url: str
) -> None:
    def leave(user: User) -> int:
        client = Api(user)
        client.request("DELETE", f"{url}{member(user)}", status=None)
        return int(client.response.status_code)

    def step_down(user: User) -> int:
        client = Api(user)
        client.request("PATCH", f"{url}{member(user)}", {"role": "member"}, status=None)
        return int(client.response.status_code)

    for how, done in ((leave, 204), (step_down, 200)):
        for _ in range(4):
            for user in (alice, bob):
                OrganizationMember.objects.update_or_create(
                    organization=organization, user=user, defaults={"role": Role.ADMIN}
                )
            answers = at_once([lambda u=user, how=how: how(u) for user in (alice, bob)])
            assert sorted(answers) == [done, 409]
            assert OrganizationMember.objects.filter(role=Role.ADMIN).count() == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_project_that_is_made_while_its_organization_goes_is_not_left_without_one(
    alice: User, repository: Any
) -> None:
    for number in range(4):
        organization = factories.make_organization((alice, Role.ADMIN))
        body = {"name": "x", "path": str(repository), "organizationId": organization.pk}

        def make(body: Any = body) -> int:
            client = Api(alice)
            client.request("POST", "/api/projects", body, status=None)
            return int(client.response.status_code)

        def remove(pk: int = organization.pk) -> int:
            client = Api(alice)
            client.request("DELETE", f"{EVERYWHERE}/{pk}", status=None)
            return int(client.response.status_code)

        answers = tuple(at_once([make, remove]))
        assert answers in ((201, 409), (404, 204)), number
