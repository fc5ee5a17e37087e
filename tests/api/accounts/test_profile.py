from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.accounts import authentication
from apps.accounts.models import User
from tests.api.accounts.people import PASSWORD, error, make, post, signed_in

pytestmark = pytest.mark.django_db


def test_one_may_change_ones_name_and_nothing_else() -> None:
    client = signed_in(make("alice@example.org"))
    body = {"displayName": " Alice A. ", "role": "super_admin", "email": "x@example.org"}
    response = client.patch("/api/auth/me", body, format="json")
    assert response.status_code == 200
    me = client.get("/api/auth/me").json()["data"]
    assert me["displayName"] == "Alice A."
    assert (me["role"], me["email"]) == ("user", "alice@example.org")
    assert client.patch("/api/auth/me", {}, format="json").json()["data"] == me


@pytest.mark.parametrize("name", ["", "  ", None, 5, "n" * 201, "a\0b"], ids=range(6))
def test_a_bad_name_is_a_400(name: Any) -> None:
    client = signed_in(make("alice@example.org"))
    response = client.patch("/api/auth/me", {"displayName": name}, format="json")
    assert error(response, 400) == "invalid"


def test_a_new_password_ends_all_other_tokens(client: APIClient) -> None:
    alice = make("alice@example.org", must_change_password=True)
    mine, other = signed_in(alice), signed_in(alice)
    response = post(
        mine, "auth/change-password", currentPassword=PASSWORD, newPassword="battery staple"
    )
    assert response.status_code == 200
    assert response.json()["data"]["user"]["mustChangePassword"] is False
    assert other.get("/api/auth/me").status_code == 401
    assert signed_in(response.json()["data"]["token"]).get("/api/auth/me").status_code == 200
    login = post(client, "auth/login", email="alice@example.org", password="battery staple")
    assert login.status_code == 200


def test_a_password_is_changed_only_by_who_knows_it() -> None:
    client = signed_in(make("alice@example.org"))
    for _ in range(10):
        response = post(
            client, "auth/change-password", currentPassword="wrong", newPassword="battery staple"
        )
        assert error(response, 400) == "wrong_password"
    response = post(
        client, "auth/change-password", currentPassword=PASSWORD, newPassword="battery staple"
    )
    assert error(response, 429) == "rate_limited"


def test_the_new_password_must_be_good_and_there_must_be_an_old_one() -> None:
    alice = make("alice@example.org")
    response = post(
        signed_in(alice), "auth/change-password", currentPassword=PASSWORD, newPassword="short"
    )
    assert error(response, 400) == "invalid"
    alice.set_unusable_password()
    alice.save()
    authentication.forget_all()
    response = post(
        signed_in(alice), "auth/change-password", currentPassword="x", newPassword="long enough"
    )
    assert error(response, 409) == "no_password"


def test_logout_all_ends_all_tokens_of_that_user_only(root: User) -> None:
    alice = make("alice@example.org")
    one, two, admin = signed_in(alice), signed_in(alice), signed_in(root)
    assert two.get("/api/auth/me").status_code == 200
    assert one.post("/api/auth/logout-all").status_code == 200
    assert [c.get("/api/auth/me").status_code for c in (one, two, admin)] == [401, 401, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [("patch", "me"), ("post", "change-password"), ("post", "logout-all"), ("get", "me")],
)
def test_only_signed_in_people_have_a_profile(client: APIClient, method: str, path: str) -> None:
    response = getattr(client, method)(f"/api/auth/{path}", {}, format="json")
    assert error(response, 401) == "unauthenticated"


def test_a_wrong_method_is_a_405(client: APIClient) -> None:
    response = client.get("/api/auth/login")
    assert error(response, 405) == "method_not_allowed"
    assert response["Allow"] == "POST"
    response = client.options("/api/auth/login")
    assert error(response, 405) == "method_not_allowed"
    assert response["Allow"] == "POST"


def test_a_profile_says_when_it_was_changed(root: User) -> None:
    client = signed_in(root)
    before = client.get("/api/auth/me").json()["data"]["updatedAt"]
    changed = client.patch("/api/auth/me", {"displayName": "Rosa"}, format="json").json()["data"]
    assert changed["updatedAt"] > before
    assert client.get("/api/auth/me").json()["data"]["updatedAt"] == changed["updatedAt"]


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u2069", "\u2028", "\n", "\x1b"])
def test_a_name_can_not_rearrange_the_text_around_it(root: User, character: str) -> None:
    body = {"displayName": f"Ro{character}sa"}
    response = signed_in(root).patch("/api/auth/me", body, format="json")
    assert error(response, 400) == "invalid"
    who = {"email": "x@example.org", "password": PASSWORD}
    assert error(post(APIClient(), "auth/register", **who, **body), 400) == "invalid"


def test_a_name_may_be_written_in_any_script(root: User) -> None:
    for name in ("رضا\u200cپور", "👩\u200d🌾", "Žofie"):
        response = signed_in(root).patch("/api/auth/me", {"displayName": name}, format="json")
        assert response.json()["data"]["displayName"] == name
