from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.accounts import personal_tokens, services
from apps.accounts.models import PersonalToken, User
from apps.common.masking import mask
from apps.configuration.store import AUTH_ENABLED
from apps.projects.models import Project, ProjectMember
from apps.projects.services import delete_project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

TOKENS = "/api/user/tokens"


def in_days(days: float) -> str:
    return (timezone.now() + timedelta(days=days)).isoformat()


def test_a_token_is_shown_once_and_kept_as_a_hash(api: Any, bob: User, project: Project) -> None:
    body = {"name": "ci", "scopes": ["write"], "projectId": project.pk, "expiresAt": in_days(1)}
    made = api(bob).post(TOKENS, body)
    token = made.pop("token")
    assert token.startswith("kba_")
    assert len(token) > 40
    assert made["scopes"] == ["read", "write"]
    assert made["projectId"] == f"proj_{project.pk:03d}"
    assert made["lastUsedAt"] is None
    assert made["expiresAt"].endswith("Z")
    assert api(bob).get(TOKENS) == [made]
    row = PersonalToken.objects.get()
    assert row.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token[4:] not in str(row.__dict__)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", 5),
        ("scopes", []),
        ("scopes", ["admin"]),
        ("scopes", "write"),
        ("scopes", None),
        ("projectId", "card_001"),
        ("expiresAt", "2020-01-01T00:00:00Z"),
        ("expiresAt", "tomorrow"),
    ],
)
def test_a_bad_wish_is_a_400_that_names_the_field(
    api: Any, bob: User, field: str, value: Any
) -> None:
    error = api(bob).post(TOKENS, {"name": "ci", "scopes": ["read"], field: value}, 400)
    assert field in error["message"]
    assert not PersonalToken.objects.exists()


def test_there_is_no_token_for_a_project_that_one_does_not_see(
    api: Any, project: Project, charlie: User
) -> None:
    body = {"name": "ci", "scopes": ["read"], "projectId": project.pk}
    api(charlie).post(TOKENS, body, 404)
    assert not PersonalToken.objects.exists()


def test_a_hundred_tokens_are_enough(api: Any, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_TOKENS", 1)
    factories.make_token(bob)
    error = api(bob).post(TOKENS, {"name": "ci", "scopes": ["read"]}, 409)
    assert error["code"] == "too_many_tokens"


def test_a_token_acts_for_its_owner(api: Any, project: Project, bob: User) -> None:
    bot = api(factories.make_token(bob))
    assert bot.get("/api/auth/me")["email"] == bob.email
    card = bot.post(f"/api/projects/{project.pk}/cards", {"title": "Water the roses"})
    assert bot.get(f"/api/cards/{card['id']}/status")["title"] == "Water the roses"
    bot.delete(f"/api/projects/{project.pk}", 403)
    ProjectMember.objects.filter(user=bob).delete()
    bot.get(f"/api/projects/{project.pk}", 404)


def test_a_token_that_may_read_changes_nothing(api: Any, project: Project, bob: User) -> None:
    bot = api(factories.make_token(bob, "read"))
    cards = f"/api/projects/{project.pk}/cards"
    assert bot.get(cards) == []
    error = bot.post(cards, {"title": "Water the roses"}, 403)
    assert error["code"] == "token_read_only"
    assert bot.get(cards) == []


def test_a_projects_token_sees_that_project_alone(api: Any, project: Project, root: User) -> None:
    other = factories.make_project(root, name="Other")
    here, there = factories.make_card(project), factories.make_card(other)
    bot = api(factories.make_token(root, project_id=project.pk))
    assert [each["name"] for each in bot.get("/api/projects")] == [project.name]
    assert bot.get(f"/api/cards/{here.pk}")["id"] == f"card_{here.pk:03d}"
    bot.get(f"/api/cards/{there.pk}", 404)
    bot.get(f"/api/cards/{there.pk}/status", 404)
    bot.get(f"/api/projects/{other.pk}/cards", 404)
    bot.post("/api/cards", {"projectId": other.pk, "title": "x"}, 404)
    bot.post("/api/projects", {"name": "x", "path": "/tmp"}, 403)
    assert api(factories.make_token(root)).get(f"/api/cards/{there.pk}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", TOKENS),
        ("POST", TOKENS),
        ("PATCH", "/api/auth/me"),
        ("POST", "/api/auth/change-password"),
        ("POST", "/api/auth/logout-all"),
        ("GET", "/api/credentials"),
        ("POST", "/api/credentials"),
        ("PUT", "/api/projects/{project}/credential"),
        ("PUT", "/api/projects/{project}/cards/{card}/credential"),
        ("PATCH", "/api/projects/{project}"),
        ("DELETE", "/api/projects/{project}"),
    ],
)
def test_no_token_reaches_what_only_people_may(
    api: Any, project: Project, alice: User, root: User, method: str, path: str
) -> None:
    card = factories.make_card(project)
    for person in (alice, root):
        for token in (
            factories.make_token(person),
            factories.make_token(person, project_id=project.pk),
        ):
            client = api(token)
            error = client.request(method, path.format(project=project.pk, card=card.pk), {}, 403)
            assert error["code"] == "token_not_allowed"
            assert error["message"].endswith("Sign in as a person to use it.")


def test_a_revoked_token_is_refused_at_once_and_the_others_are_not(api: Any, bob: User) -> None:
    gone, kept = factories.make_token(bob), factories.make_token(bob)
    bot = api(gone)
    bot.get("/api/auth/me")
    listed = api(bob).get(TOKENS)
    api(bob).delete(f"{TOKENS}/{listed[0]['id']}")
    assert bot.get("/api/auth/me", 401)["code"] == "unauthenticated"
    assert api(kept).get("/api/auth/me")
    assert len(api(bob).get(TOKENS)) == 1


def test_nobody_sees_or_ends_anothers_tokens(api: Any, bob: User, root: User) -> None:
    token = factories.make_token(bob)
    row = PersonalToken.objects.get()
    assert api(root).get(TOKENS) == []
    api(root).delete(f"{TOKENS}/{row.pk}", 404)
    assert api(token).get("/api/auth/me")


def test_a_token_ends_with_its_time_its_owner_and_its_project(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    late, of_bob = factories.make_token(alice), factories.make_token(bob)
    of_project = factories.make_token(alice, project_id=project.pk)
    for token in (late, of_bob, of_project):
        assert api(token).get("/api/projects")
    PersonalToken.objects.filter(digest=personal_tokens.digest_of(late)).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    User.objects.filter(pk=bob.pk).update(is_active=False)
    delete_project(project, by=alice.pk)
    services.forget_all()
    for token in (late, of_bob, of_project):
        api(token).get("/api/projects", 401)


def test_signing_out_everywhere_ends_tokens_and_a_new_password_does_not(
    api: Any, bob: User
) -> None:
    bot = api(factories.make_token(bob))
    body = {"currentPassword": factories.PASSWORD, "newPassword": "better horse"}
    api(bob).post("/api/auth/change-password", body, 200)
    assert bot.get("/api/auth/me")
    bob.refresh_from_db()
    api(bob).post("/api/auth/logout-all", status=200)
    bot.get("/api/auth/me", 401)


def test_the_last_use_is_noted_once_a_minute(
    api: Any, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[int] = []
    store = personal_tokens._store_use

    def counted(token_id: int) -> None:
        stored.append(token_id)
        store(token_id)

    monkeypatch.setattr(personal_tokens, "_store_use", counted)
    bot = api(factories.make_token(bob))
    for _ in range(3):
        bot.get("/api/projects")
    assert len(stored) == 1
    first = PersonalToken.objects.get().last_used_at
    assert first is not None
    assert api(bob).get(TOKENS)[0]["lastUsedAt"] is not None
    monkeypatch.setattr(personal_tokens, "NOTE_EVERY_S", 0.0)
    bot.get("/api/projects")
    second = PersonalToken.objects.get().last_used_at
    assert second is not None
    assert second > first


@pytest.mark.parametrize(
    "error",
    [OperationalError("database or disk is full"), InterfaceError("connection already closed")],
)
def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(
    api: Any,
    bob: User,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(token_id: int) -> None:
        raise error

    monkeypatch.setattr(personal_tokens, "_store_use", refused)
    with caplog.at_level(logging.WARNING):
        assert api(factories.make_token(bob)).get("/api/projects") == []
    assert "can't be noted" in caplog.text


@pytest.mark.parametrize(
    "token", ["kba_", "kba_x", "kba_" + "A" * 43, "kba_é\x7f", "KBA_" + "A" * 43]
)
def test_what_is_no_token_is_a_401(api: Any, bob: User, token: str) -> None:
    api(token).get("/api/projects", 401)


def test_while_accounts_are_off_a_token_still_limits(
    api: Any, project: Project, bob: User, settings: Any
) -> None:
    only_reads = factories.make_token(bob, "read", project_id=project.pk)
    AUTH_ENABLED.set(False)
    services.forget_all()
    assert api(None).get(TOKENS) == []
    bot = api(only_reads)
    bot.post(f"/api/projects/{project.pk}/cards", {"title": "x"}, 403)
    bot.get(TOKENS, 403)
    assert len(bot.get("/api/projects")) == 1
    PersonalToken.objects.all().delete()
    services.forget_all()
    bot.get("/api/projects", 401)


def test_tokens_are_masked_in_logs() -> None:
    token = personal_tokens.new()
    assert mask(f"x {token} y") == "x kba_**** y"
