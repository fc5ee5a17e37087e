from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.accounts import authentication
from apps.accounts.models import Role, User
from apps.configuration.store import AUTH_ENABLED
from tests.api.accounts.people import PASSWORD, error, make, post, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def off() -> None:
    AUTH_ENABLED.set(False)
    authentication.forget_all()


@pytest.mark.usefixtures("off")
def test_while_accounts_are_off_a_local_super_admin_acts(client: APIClient) -> None:
    me = client.get("/api/auth/me").json()["data"]
    assert (me["isLocal"], me["role"]) == (True, "super_admin")
    status = client.get("/api/settings/auth-status").json()["data"]
    assert (status["authEnabled"], status["hasUsers"]) == (False, False)
    assert User.objects.count() == 1


@pytest.mark.usefixtures("off")
def test_setup_turns_the_local_user_into_the_first_account(client: APIClient) -> None:
    local = client.get("/api/auth/me").json()["data"]
    response = post(client, "auth/setup", email="root@example.org", password=PASSWORD)
    assert response.status_code == 201
    user = response.json()["data"]["user"]
    assert (user["id"], user["isLocal"]) == (local["id"], False)
    assert User.objects.count() == 1
    login = post(client, "auth/login", email="root@example.org", password=PASSWORD)
    assert login.status_code == 200


@pytest.mark.usefixtures("off")
def test_while_accounts_are_off_the_first_super_admin_acts_and_tokens_mean_nothing(
    root: User,
) -> None:
    make("second@example.org", Role.SUPER_ADMIN)
    alice = make("alice@example.org")
    for client in (APIClient(), signed_in(alice), signed_in("rubbish")):
        assert client.get("/api/auth/me").json()["data"]["id"] == f"user_{root.pk:03d}"


@pytest.mark.usefixtures("off")
def test_nobody_signs_in_as_the_local_user(client: APIClient) -> None:
    authentication.local_user()
    for password in ("!", "password"):
        response = post(client, "auth/login", email=authentication.LOCAL_EMAIL, password=password)
        assert error(response, 401) == "invalid_credentials"


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize(
    "header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"]
)
def test_while_accounts_are_off_a_proxy_is_refused(client: APIClient, header: str) -> None:
    forwarded = {f"HTTP_{header.upper().replace('-', '_')}": "203.0.113.7"}
    assert error(client.get("/api/auth/me", **forwarded), 403) == "forwarded_without_accounts"
    response = client.post(
        "/api/auth/setup",
        {"email": "eve@example.org", "password": PASSWORD},
        format="json",
        **forwarded,
    )
    assert error(response, 403) == "forwarded_without_accounts"
    assert authentication.user_for_token(None, forwarded=True) is None
    assert authentication.user_for_token(None) is not None


@pytest.mark.usefixtures("off")
def test_accounts_are_never_off_beyond_loopback(client: APIClient, settings: Any) -> None:
    settings.LOOPBACK = False
    assert client.get("/api/auth/me").status_code == 401


def test_the_environment_can_fix_accounts_to_off(client: APIClient, settings: Any) -> None:
    settings.AUTH_FIXED_OFF = True
    assert client.get("/api/auth/me").json()["data"]["isLocal"] is True
