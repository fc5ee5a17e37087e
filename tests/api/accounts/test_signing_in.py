from __future__ import annotations

import time
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from rest_framework.test import APIClient

from apps.accounts import tokens
from apps.accounts.models import User
from apps.accounts.passwords import Argon2Hasher
from tests.api.accounts.people import PASSWORD, error, make, post

pytestmark = pytest.mark.django_db


def test_login_answers_a_token_for_the_user(client: APIClient, root: User) -> None:
    response = post(client, "auth/login", email="ROOT@example.org ", password=PASSWORD)
    assert response.status_code == 200
    assert response.json()["data"]["user"]["id"] == f"user_{root.pk:03d}"
    claims = tokens.read(response.json()["data"]["token"])
    assert claims is not None
    assert claims.user_id == root.pk
    assert abs(claims.expires_at - time.time() - 7 * 86400) < 10


def test_every_failed_login_reads_the_same(client: APIClient, root: User) -> None:
    sso = make("sso@example.org", auth_provider="oidc")
    sso.set_unusable_password()
    sso.save()
    make("gone@example.org", is_active=False)
    answers = {
        post(client, "auth/login", email=email, password=password).content
        for email, password in (
            ("root@example.org", "wrong password"),
            ("nobody@example.org", PASSWORD),
            ("sso@example.org", PASSWORD),
            ("gone@example.org", PASSWORD),
            ("not an address", PASSWORD),
        )
    }
    assert len(answers) == 1
    response = post(client, "auth/login", email="root@example.org", password="wrong password")
    assert error(response, 401) == "invalid_credentials"


def test_an_unknown_email_costs_a_hash_too(
    client: APIClient, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    encode = Argon2Hasher.encode

    def counted(self: Any, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(Argon2Hasher, "encode", counted)
    post(client, "auth/login", email="nobody@example.org", password=PASSWORD)
    assert hashed == [PASSWORD]


def test_after_ten_failures_in_a_minute_an_email_has_to_wait(client: APIClient, root: User) -> None:
    for _ in range(10):
        wrong = post(client, "auth/login", email="root@example.org", password="wrong password")
        assert wrong.status_code == 401
    # Neither another case nor another of our names starts a new count.
    response = client.post(
        "/api/auth/login",
        {"email": "Root@example.org", "password": PASSWORD},
        format="json",
        HTTP_HOST="127.0.0.1:1",
    )
    assert error(response, 429) == "rate_limited"
    assert response["Retry-After"] == "60"
    other = post(client, "auth/login", email="nobody@example.org", password=PASSWORD)
    assert other.status_code == 401


def test_a_database_that_can_not_write_is_no_limit_that_is_reached(
    client: APIClient, root: User
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = on")
        try:
            response = post(client, "auth/login", email="root@example.org", password=PASSWORD)
        finally:
            cursor.execute("PRAGMA query_only = off")
    assert error(response, 503) == "unavailable"


def test_good_logins_do_not_count_as_failures(client: APIClient, root: User) -> None:
    for _ in range(12):
        good = post(client, "auth/login", email="root@example.org", password=PASSWORD)
        assert good.status_code == 200


def test_an_address_has_sixty_failures_a_minute(client: APIClient) -> None:
    statuses = [
        post(client, "auth/login", email=f"u{n}@example.org", password=PASSWORD).status_code
        for n in range(61)
    ]
    assert statuses == [401] * 60 + [429]


def test_a_client_cannot_invent_its_address(client: APIClient, settings: Any) -> None:
    def fail(n: int) -> int:
        return int(
            client.post(
                "/api/auth/login",
                {"email": f"u{n}@example.org", "password": PASSWORD},
                format="json",
                HTTP_X_FORWARDED_FOR=f"198.51.100.{n}, 203.0.113.7",
            ).status_code
        )

    assert [fail(n) for n in range(61)][-1] == 429
    cache.clear()
    settings.PUBLIC_URL = "https://board.example.org"
    assert [fail(n) for n in range(61)][-1] == 429


RUBBISH = [
    b"{",
    b"[]",
    b'"text"',
    b"null",
    b'{"email": 5, "password": 5}',
    b'{"email": {"a": 1}, "password": ["x"]}',
    b'{"email": true, "password": true}',
    b'{"email": null, "password": null}',
    b'{"email": "", "password": ""}',
    b'{"email": "a\\u0000@example.org", "password": "long enough"}',
    b'{"email": "a@example.org", "password": "long\\u0000enough"}',
    b'{"email": "a@example.org", "password": "\\ud800 long enough"}',
    b'{"email": "' + b"a" * 5000 + b'@example.org", "password": "long enough"}',
    b'{"email": "a@example.org", "password": "' + b"p" * 5000 + b'"}',
    b'{"email": "a@example.org", "password": "long enough", "displayName": {}}',
    b'{"email": "a@example.org", "password": "long enough", "displayName": "' + b"n" * 201 + b'"}',
    b'{"email": "not an address", "password": "long enough"}',
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("body", RUBBISH, ids=range(len(RUBBISH)))
@pytest.mark.parametrize("path", ["setup", "login", "register"])
def test_rubbish_is_refused_in_the_error_format(client: APIClient, path: str, body: bytes) -> None:
    response = client.post(f"/api/auth/{path}", body, content_type="application/json")
    # Two of them are well-formed for a login, and nobody's.
    if path == "login" and response.status_code == 401:
        assert error(response, 401) == "invalid_credentials"
    else:
        assert error(response, 400) == "invalid"


def test_another_content_type_is_a_415(client: APIClient) -> None:
    response = client.post("/api/auth/login", "a=b", content_type="text/plain")
    assert error(response, 415) == "unsupported_media_type"
