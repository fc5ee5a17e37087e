"""Who is in a project, and how somebody without an account comes into it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from django.core.cache import cache

from apps.accounts import authentication
from apps.accounts.models import User
from apps.configuration.store import AUTH_ENABLED
from apps.events.models import StoredEvent
from apps.projects.models import Invitation, Project, ProjectMember
from tests import factories
from tests.client import Api
from tests.together import at_once

pytestmark = pytest.mark.django_db

DORA = "dora@example.org"


@pytest.fixture(autouse=True)
def _nobody_has_tried_yet(db: None, settings: Any) -> None:
    settings.REGISTRATION = "open"
    cache.clear()


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/proj_{project.pk:03d}"


def member(user: User) -> str:
    return f"/members/user_{user.pk:03d}"


def events(project: Project) -> list[tuple[str, dict[str, Any]]]:
    rows = StoredEvent.objects.filter(stream=project.pk, type__startswith="member.").order_by("seq")
    return [(row.type, json.loads(row.data)) for row in rows]


def register(email: str, code: str | None = None, status: int | None = 201) -> Any:
    body = {"email": email, "password": factories.PASSWORD}
    if code is not None:
        body["inviteCode"] = code
    client = Api()
    answer = client.request("POST", "/api/auth/register", body, status)
    return answer if status is not None else client.response.status_code


def test_the_list_begins_with_the_owner_and_ends_with_the_invited(
    api: Any, alice: User, bob: User, url: str
) -> None:
    api(alice).post(f"{url}/members", {"email": DORA, "role": "admin"})
    found = api(bob).get(f"{url}/members")
    keys = ("userId", "email", "displayName", "role", "status", "isOwner")
    assert [tuple(each[key] for key in keys) for each in found] == [
        (f"user_{alice.pk:03d}", "alice@example.org", "Alice", "admin", "active", True),
        (f"user_{bob.pk:03d}", "bob@example.org", "Bob", "member", "active", False),
        (None, DORA, None, "admin", "pending", False),
    ]
    client = api(bob)
    client.get(f"{url}/members")
    etag = client.response["ETag"]
    assert client.get(f"{url}/members", 304, If_None_Match=etag) is None
    api(alice).patch("/api/auth/me", {"displayName": "Alice B."})
    assert client.get(f"{url}/members", If_None_Match=etag)[0]["displayName"] == "Alice B."


def test_somebody_with_an_account_is_a_member_at_once(
    api: Any, project: Project, alice: User, charlie: User, url: str
) -> None:
    added = api(alice).post(f"{url}/members", {"email": " Charlie@Example.org "})
    assert (added["userId"], added["role"]) == (f"user_{charlie.pk:03d}", "member")
    assert "inviteCode" not in added
    assert api(charlie).get(url)["role"] == "member"
    assert api(charlie).get(f"{url}/members")[-1] == added
    wire = f"proj_{project.pk:03d}"
    assert events(project) == [("member.added", {**added, "projectId": wire})]


def test_whoever_is_in_it_is_not_added_again(api: Any, alice: User, bob: User, url: str) -> None:
    for person in (alice, bob):
        error = api(alice).post(f"{url}/members", {"email": person.email, "role": "admin"}, 409)
        assert error["code"] == "already_member"
    assert api(bob).get(url)["role"] == "member"


def test_a_role_is_changed_by_an_admin_and_said_to_all(
    api: Any, project: Project, alice: User, bob: User, url: str
) -> None:
    changed = api(alice).patch(f"{url}{member(bob)}", {"role": "admin"})
    assert (changed["role"], changed["status"]) == ("admin", "active")
    assert api(alice).patch(f"{url}{member(bob)}", {"role": "admin"}) == changed
    wire = f"proj_{project.pk:03d}"
    assert events(project) == [("member.updated", {**changed, "projectId": wire})]
    # As an admin Bob may step down himself.
    assert api(bob).patch(f"{url}{member(bob)}", {"role": "member"})["role"] == "member"
    api(bob).patch(f"{url}{member(bob)}", {"role": "admin"}, 403)


def test_the_owner_stays_as_admin(api: Any, alice: User, root: User, url: str) -> None:
    for person in (alice, root):
        assert api(person).delete(f"{url}{member(alice)}", 409)["code"] == "project_owner"
        api(person).patch(f"{url}{member(alice)}", {"role": "member"}, 409)


def test_a_member_may_leave_but_remove_nobody(
    api: Any, project: Project, alice: User, bob: User, charlie: User, url: str
) -> None:
    factories.add_member(project, charlie)
    api(bob).delete(f"{url}{member(charlie)}", 403)
    api(bob).delete(f"{url}{member(alice)}", 403)
    api(bob).delete(f"{url}{member(bob)}")
    api(bob).get(url, 404)
    api(alice).delete(f"{url}{member(bob)}", 404)
    api(alice).patch(f"{url}{member(bob)}", {"role": "admin"}, 404)
    ((kind, data),) = events(project)
    assert (kind, data["userId"]) == ("member.removed", f"user_{bob.pk:03d}")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": None},
        {"email": 5},
        {"email": "nonsense"},
        {"email": "a@b@example.org"},
        {"email": "x" * 250 + "@example.org"},
        {"email": "a\0b@example.org"},
        {"email": DORA, "role": "owner"},
        {"email": DORA, "role": None},
    ],
)
def test_a_bad_invitation_is_a_400(api: Any, alice: User, url: str, body: Any) -> None:
    api(alice).post(f"{url}/members", body, 400)
    assert not Invitation.objects.exists()


def test_an_invite_code_is_shown_once_and_kept_as_a_hash(
    api: Any, project: Project, alice: User, url: str
) -> None:
    invited = api(alice).post(f"{url}/members", {"email": "Dora@example.org"})
    code = invited.pop("inviteCode")
    assert len(code) >= 20
    assert (invited["userId"], invited["status"]) == (None, "pending")
    assert api(alice).get(f"{url}/members")[-1] == invited
    row = Invitation.objects.get()
    assert code not in "".join(str(value) for value in vars(row).values())
    assert code not in json.dumps(events(project))


def test_inviting_again_updates_the_role_and_makes_a_new_code(
    api: Any, project: Project, alice: User, url: str, settings: Any
) -> None:
    first = api(alice).post(f"{url}/members", {"email": DORA})
    second = api(alice).post(f"{url}/members", {"email": DORA, "role": "admin"})
    assert (second["role"], second["status"]) == ("admin", "pending")
    assert first["inviteCode"] != second["inviteCode"]
    assert len(api(alice).get(f"{url}/members")) == 3
    assert [kind for kind, _ in events(project)] == ["member.added", "member.updated"]
    settings.REGISTRATION = "invited"
    assert register(DORA, first["inviteCode"], 403)["code"] == "invitation_required"
    register(DORA, second["inviteCode"])


def test_a_new_account_accepts_all_its_invitations(
    api: Any, project: Project, alice: User, url: str
) -> None:
    other = factories.make_project(alice, name="Other")
    for place, role in ((url, "admin"), (f"/api/projects/{other.pk}", "member")):
        api(alice).post(f"{place}/members", {"email": DORA, "role": role})
    register("Dora@Example.org")
    dora = User.objects.get(email=DORA)
    assert [each["role"] for each in api(dora).get("/api/projects")] == ["admin", "member"]
    assert not Invitation.objects.exists()
    kind, data = events(project)[-1]
    assert kind == "member.updated"
    assert (data["email"], data["status"], data["role"]) == (DORA, "active", "admin")
    assert data["userId"] == f"user_{dora.pk:03d}"


def test_the_stand_in_that_setup_makes_a_person_of_is_no_member_of_its_own_project(
    api: Any, repository: Any, settings: Any
) -> None:
    settings.LOOPBACK = True
    AUTH_ENABLED.set(False)
    authentication.forget_all()
    made = api(None).post("/api/projects", {"name": "Mine", "path": str(repository)})
    api(None).post(f"/api/projects/{made['id']}/members", {"email": DORA})
    api(None).post("/api/auth/setup", {"email": DORA, "password": factories.PASSWORD})
    (entry,) = api(None).get(f"/api/projects/{made['id']}/members")
    assert (entry["email"], entry["isOwner"]) == (DORA, True)
    assert events(Project.objects.get())[-1][0] == "member.removed"


def test_where_registration_is_by_invitation_the_code_opens_it_to_the_invited_alone(
    api: Any, alice: User, url: str, settings: Any
) -> None:
    settings.REGISTRATION = "invited"
    code = api(alice).post(f"{url}/members", {"email": DORA})["inviteCode"]
    for email, given in ((DORA, None), (DORA, ""), (DORA, "guess"), ("eve@example.org", code)):
        assert register(email, given, 403)["code"] == "invitation_required"
    assert User.objects.filter(email__in=[DORA, "eve@example.org"]).count() == 0
    register(DORA, code)
    # It has served.
    assert register("eve@example.org", code, 403)["code"] == "invitation_required"


def test_a_pending_invitation_is_taken_back(
    api: Any, project: Project, alice: User, bob: User, charlie: User, url: str, settings: Any
) -> None:
    settings.REGISTRATION = "invited"
    code = api(alice).post(f"{url}/members", {"email": DORA})["inviteCode"]
    place = f"{url}/invitations/{quote('Dora@Example.org', safe='')}"
    api(charlie).delete(place, 404)
    api(bob).delete(place, 403)
    api(alice).delete(place)
    api(alice).delete(place, 404)
    assert events(project)[-1][0] == "member.removed"
    assert register(DORA, code, 403)["code"] == "invitation_required"
    # Neither those who are members nor what is no email is pending.
    for absent in (bob.email, "nonsense", "a@b@c"):
        api(alice).delete(f"{url}/invitations/{quote(absent, safe='')}", 404)


def test_an_email_with_a_slash_or_a_plus_can_be_taken_back(api: Any, alice: User, url: str) -> None:
    for email in ("a/b@example.org", "a+b@example.org", "a%2fb@example.org"):
        api(alice).post(f"{url}/members", {"email": email})
        api(alice).delete(f"{url}/invitations/{quote(email, safe='')}")
    assert not Invitation.objects.exists()


def _status(user: User, method: str, path: str, body: Any = None) -> int:
    client = Api(user)
    client.request(method, path, {} if body is None else body, status=None)
    return int(client.response.status_code)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_eight_additions_of_one_person_make_one_member(
    project: Project, alice: User, charlie: User, url: str
) -> None:
    add = lambda: _status(alice, "POST", f"{url}/members", {"email": charlie.email})  # noqa: E731
    assert Counter(at_once([add] * 8)) == {201: 1, 409: 7}
    assert ProjectMember.objects.filter(project=project, user=charlie).count() == 1
    assert [kind for kind, _ in events(project)] == ["member.added"]


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_eight_invitations_of_one_email_one_is_left_and_one_code_counts(
    alice: User, url: str, settings: Any
) -> None:
    settings.REGISTRATION = "invited"
    invite = lambda: Api(alice).post(f"{url}/members", {"email": DORA})["inviteCode"]  # noqa: E731
    codes = at_once([invite] * 8)
    assert len(set(codes)) == 8
    assert Invitation.objects.count() == 1
    assert sorted(register(DORA, code, None) for code in codes) == [201] + [403] * 7


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("registration", ["open", "invited"])
def test_an_invitation_that_is_accepted_while_it_is_removed_is_one_or_the_other(
    api: Any, project: Project, alice: User, url: str, settings: Any, registration: str
) -> None:
    settings.REGISTRATION = registration
    for number in range(6):
        email = f"dora{number}@example.org"
        code = api(alice).post(f"{url}/members", {"email": email})["inviteCode"]
        removed, registered = at_once(
            [
                lambda email=email: _status(alice, "DELETE", f"{url}/invitations/{email}"),
                lambda email=email, code=code: register(email, code, None),
            ]
        )
        is_member = ProjectMember.objects.filter(project=project, user__email=email).exists()
        assert is_member == (removed == 404)
        if registration == "invited":
            assert registered == (201 if is_member else 403)
            assert User.objects.filter(email=email).exists() == is_member
        else:
            assert registered == 201
    assert not Invitation.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_who_registers_while_being_invited_is_a_member_and_not_invited_for_ever(
    project: Project, alice: User, url: str
) -> None:
    for number in range(6):
        email = f"dora{number}@example.org"
        invited, registered = at_once(
            [
                lambda email=email: _status(alice, "POST", f"{url}/members", {"email": email}),
                lambda email=email: register(email, None, None),
            ]
        )
        assert (invited, registered) == (201, 201)
        assert ProjectMember.objects.filter(project=project, user__email=email).exists()
    assert not Invitation.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_people_invited_to_the_same_projects_register_at_once(
    alice: User, project: Project
) -> None:
    places = [project, *(factories.make_project(alice, name=str(n)) for n in range(3))]
    emails = [f"dora{number}@example.org" for number in range(4)]
    for number, email in enumerate(emails):
        for place in places if number % 2 else reversed(places):
            factories.invite(place, email)
    assert at_once([lambda e=e: register(e, None, None) for e in emails]) == [201] * 4
    assert ProjectMember.objects.filter(user__email__in=emails).count() == 16
