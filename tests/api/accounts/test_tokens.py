from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from apps.accounts import authentication, tokens
from apps.accounts.models import Role, User
from kanban_agents.secrets import derive
from tests.api.accounts.people import PASSWORD, error, post, signed_in

pytestmark = pytest.mark.django_db


def forged(**claims: Any) -> str:
    now = int(time.time())
    body = {"sub": "1", "tv": 0, "iat": now, "exp": now + 60} | claims
    body = {name: value for name, value in body.items() if value is not None}
    from django.conf import settings

    return jwt.encode(body, derive(str(settings.SERVER_SECRET), "jwt"), algorithm="HS256")


def test_without_a_token_nobody_is_let_in(client: APIClient, root: User) -> None:
    response = client.get("/api/auth/me")
    assert error(response, 401) == "unauthenticated"
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_bad_tokens_are_refused(root: User) -> None:
    me = str(root.pk)
    now = int(time.time())
    bad = [
        "rubbish",
        "a.b.c",
        "é",
        "x" * 10_000,
        forged(sub=me, exp=now - 1),
        forged(sub=me, exp=None),
        forged(sub=me, tv=None),
        forged(sub=me, tv="0"),
        forged(sub=me, tv=1),
        forged(sub="-1"),
        forged(sub="9" * 30),
        forged(sub="abc"),
        forged(sub=str(root.pk + 1)),
        jwt.encode({"sub": me, "tv": 0, "iat": now, "exp": now + 60}, "x" * 32, algorithm="HS256"),
        jwt.encode({"sub": me, "tv": 0, "iat": now, "exp": now + 60}, None, algorithm="none"),
    ]
    for token in bad:
        response = signed_in(token).get("/api/auth/me")
        assert error(response, 401) == "unauthenticated", token
    assert signed_in(forged(sub=me)).get("/api/auth/me").status_code == 200


def test_a_stale_token_does_not_keep_one_from_signing_in(root: User) -> None:
    client = signed_in("stale")
    response = post(client, "auth/login", email="root@example.org", password=PASSWORD)
    assert response.status_code == 200


def test_a_token_that_runs_out_is_not_remembered(
    root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(forged(sub=str(root.pk), exp=int(time.time()) + 100))
    assert client.get("/api/auth/me").status_code == 200
    later = time.time() + 101
    monkeypatch.setattr(authentication.time, "time", lambda: later)
    assert client.get("/api/auth/me").status_code == 401


def test_a_revoked_token_is_believed_for_a_second_at_most(
    root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(root)
    assert client.get("/api/auth/me").status_code == 200
    User.objects.filter(pk=root.pk).update(token_version=1)  # by another process
    later = time.monotonic() + 1.001
    monkeypatch.setattr(authentication.time, "monotonic", lambda: later)
    assert client.get("/api/auth/me").status_code == 401


def test_what_is_remembered_is_bounded(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_MOST_REMEMBERED", 3)
    for _ in range(20):
        assert authentication.user_for_token(tokens.issue(root)) is not None
        assert authentication.user_for_token("rubbish") is None
    assert len(authentication._remembered) <= 3


def test_changing_a_remembered_user_changes_only_ones_own_copy(root: User) -> None:
    token = tokens.issue(root)
    first = authentication.user_for_token(token)
    assert first is not None
    first.user.role = Role.USER
    again = authentication.user_for_token(token)
    assert again is not None
    assert again.user.role == Role.SUPER_ADMIN
