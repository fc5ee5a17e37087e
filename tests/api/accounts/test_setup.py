from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from apps.accounts import authentication, joining, setup_code
from apps.accounts.models import User
from tests.api.accounts.people import PASSWORD, error, post, signed_in

pytestmark = pytest.mark.django_db


def test_setup_makes_the_first_super_admin_and_signs_in(client: APIClient) -> None:
    assert client.get("/api/settings/auth-status").json()["data"]["hasUsers"] is False
    response = post(client, "auth/setup", email=" Root@Example.org ", password=PASSWORD)
    assert response.status_code == 201
    data = response.json()["data"]
    user = data["user"]
    assert (user["email"], user["displayName"]) == ("root@example.org", "root")
    assert (user["role"], user["isSuperAdmin"]) == ("super_admin", True)
    assert signed_in(data["token"]).get("/api/auth/me").json()["data"] == user
    status = client.get("/api/settings/auth-status").json()["data"]
    assert (status["hasUsers"], status["authEnabled"], status["oidcEnabled"]) == (True, True, False)
    assert User.objects.get().password.startswith("argon2$argon2id$")


def test_a_second_setup_is_a_409(client: APIClient, root: User) -> None:
    response = post(client, "auth/setup", email="eve@example.org", password=PASSWORD)
    assert error(response, 409) == "already_set_up"


@pytest.mark.django_db(transaction=True)
def test_of_two_setups_at_once_one_wins() -> None:
    answers: list[int] = []
    together = threading.Barrier(2)

    def run(name: str) -> None:
        together.wait()
        answers.append(
            post(
                APIClient(), "auth/setup", email=f"{name}@example.org", password=PASSWORD
            ).status_code
        )
        connection.close()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409]
    assert User.objects.count() == 1


def test_beyond_loopback_setup_asks_for_the_code(client: APIClient, settings: Any) -> None:
    settings.LOOPBACK = False
    assert client.get("/api/settings/auth-status").json()["data"]["setupCodeRequired"] is True
    code = setup_code.current()
    assert code
    kept = settings.DATA_DIR / "setup_code"
    assert kept.stat().st_mode & 0o777 == 0o600
    body = {"email": "root@example.org", "password": PASSWORD}
    assert error(post(client, "auth/setup", **body), 403) == "setup_code_required"
    wrong = post(client, "auth/setup", setupCode="ümlaut", **body)
    assert error(wrong, 403) == "setup_code_required"
    assert post(client, "auth/setup", setupCode=code, **body).status_code == 201
    assert not kept.exists()
    assert setup_code.current() is None


def test_the_setup_code_can_be_given_or_switched_off(client: APIClient, settings: Any) -> None:
    settings.LOOPBACK = False
    settings.SETUP_CODE = "letmein"
    assert setup_code.current() == "letmein"
    settings.SETUP_CODE = "off"
    assert setup_code.current() is None
    body = {"email": "root@example.org", "password": PASSWORD}
    assert post(client, "auth/setup", **body).status_code == 201


def test_register_makes_a_plain_user(client: APIClient, root: User) -> None:
    response = post(
        client,
        "auth/register",
        email="Alice@Example.org",
        password=PASSWORD,
        displayName="Alice",
        role="super_admin",
    )
    assert response.status_code == 201
    user = response.json()["data"]["user"]
    assert (user["email"], user["role"]) == ("alice@example.org", "user")


def test_register_before_setup_is_a_409(client: APIClient) -> None:
    authentication.local_user()
    response = post(client, "auth/register", email="alice@example.org", password=PASSWORD)
    assert error(response, 409) == "setup_required"


def test_an_email_is_taken_whatever_its_case(client: APIClient, root: User) -> None:
    response = post(client, "auth/register", email="ROOT@Example.ORG", password=PASSWORD)
    assert error(response, 409) == "email_taken"


def test_where_only_invited_people_may_register_others_are_refused(
    client: APIClient, root: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REGISTRATION = "invited"
    monkeypatch.setattr(
        joining, "_checks", [lambda email, code: (email, code) == ("bob@example.org", "s3cret")]
    )
    joined: list[str] = []
    monkeypatch.setattr(joining, "_welcomes", [lambda user: joined.append(user.email)])
    for email, code in (
        ("bob@example.org", ""),
        ("bob@example.org", "wrong"),
        ("eve@example.org", "s3cret"),
    ):
        response = post(client, "auth/register", email=email, password=PASSWORD, inviteCode=code)
        assert error(response, 403) == "invitation_required"
    response = post(
        client, "auth/register", email="Bob@example.org", password=PASSWORD, inviteCode="s3cret"
    )
    assert response.status_code == 201
    assert joined == ["bob@example.org"]


@pytest.mark.django_db(transaction=True)
def test_what_a_welcome_raises_undoes_the_account(
    client: APIClient, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(user: User) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(joining, "_welcomes", [broken])
    response = post(client, "auth/register", email="bob@example.org", password=PASSWORD)
    assert error(response, 500) == "internal"
    assert not User.objects.filter(email="bob@example.org").exists()


def test_an_address_may_ask_for_a_hundred_accounts_an_hour(client: APIClient, root: User) -> None:
    for _ in range(100):
        response = post(client, "auth/register", email="root@example.org", password=PASSWORD)
        assert response.status_code == 409
    response = post(client, "auth/register", email="alice@example.org", password=PASSWORD)
    assert error(response, 429) == "rate_limited"
    assert response["Retry-After"] == "3600"


@pytest.mark.parametrize("password", ["short", "x" * 201], ids=["short", "long"])
def test_a_password_has_8_to_200_characters(client: APIClient, root: User, password: str) -> None:
    response = post(client, "auth/register", email="alice@example.org", password=password)
    assert error(response, 400) == "invalid"
    assert "password" in response.json()["error"]["details"]
