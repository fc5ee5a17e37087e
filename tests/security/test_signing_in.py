"""Guessing one's way in, finding out who has an account, and being first at somebody else's server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.core.cache import cache

from apps.accounts import setup_code, tokens
from apps.accounts.models import PersonalToken, User
from apps.accounts.passwords import Argon2Hasher
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LOGIN, SETUP, REGISTER = "/api/auth/login", "/api/auth/setup", "/api/auth/register"
ACCOUNT = {"email": "new@example.org", "password": factories.PASSWORD}


@pytest.fixture(autouse=True)
def _no_tries_so_far(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.PUBLIC_URL = ""
    cache.clear()


@pytest.fixture
def exposed(settings: Any) -> None:
    """Bound to an address that others reach."""
    settings.LOOPBACK = False
    settings.REGISTRATION = "invited"


def _guess(api: Any, email: str, status: int | None = None) -> Any:
    client = api()
    client.request("POST", LOGIN, {"email": email, "password": "wrong password"}, status)
    return client.response


def test_guessing_a_password_has_to_wait_and_says_how_long(
    api: Any, alice: User, bob: User
) -> None:
    for _ in range(10):
        _guess(api, alice.email, 401)
    right = api()
    error = right.post(LOGIN, {"email": alice.email, "password": factories.PASSWORD}, 429)
    assert error["code"] == "rate_limited"
    assert int(right.response["Retry-After"]) == 60
    # The control: who guesses at alice's locks nobody else out.
    assert api().post(LOGIN, {"email": bob.email, "password": factories.PASSWORD}, 200)["token"]


def test_the_throttle_tells_no_more_than_the_failure(api: Any, alice: User) -> None:
    answers = []
    for email in (alice.email, "nobody@example.org"):
        cache.clear()
        tried = [_guess(api, email) for _ in range(11)]
        answers.append([(each.status_code, each.content, each.headers) for each in tried])
    assert answers[0] == answers[1]
    assert [status for status, *_ in answers[0]] == [401] * 10 + [429]


def test_a_stolen_token_is_no_way_to_try_passwords(api: Any, alice: User) -> None:
    thief = api(alice)
    body = {"currentPassword": "wrong password", "newPassword": "better horse"}
    for _ in range(10):
        thief.post("/api/auth/change-password", body, 400)
    thief.post("/api/auth/change-password", body, 429)
    assert thief.response["Retry-After"]
    cache.clear()
    body["currentPassword"] = factories.PASSWORD
    assert thief.post("/api/auth/change-password", body, 200)["token"]


def test_every_failed_sign_in_takes_one_hash(
    api: Any, alice: User, bob: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob.set_unusable_password()
    bob.save()
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    hashed: list[str] = []
    encode = Argon2Hasher.encode
    verify = Argon2Hasher.verify

    def encoding(self: Any, password: str, salt: str) -> str:
        hashed.append("encode")
        return encode(self, password, salt)

    def verifying(self: Any, password: str, encoded: str) -> bool:
        hashed.append("verify")
        return bool(verify(self, password, encoded))

    monkeypatch.setattr(Argon2Hasher, "encode", encoding)
    monkeypatch.setattr(Argon2Hasher, "verify", verifying)
    contents = set()
    for email in (alice.email, "nobody@example.org", bob.email, charlie.email):
        hashed.clear()
        contents.add(_guess(api, email, 401).content)
        assert len(hashed) == 1, (email, hashed)
    assert len(contents) == 1


@pytest.mark.usefixtures("exposed")
def test_who_is_not_invited_does_not_learn_who_has_an_account(
    api: Any, alice: User, project: Any
) -> None:
    factories.invite(project, "invited@example.org")
    answers = set()
    for email in (alice.email, "nobody@example.org", "invited@example.org"):
        stranger = api()
        body = {"email": email, "password": factories.PASSWORD, "inviteCode": "guessed"}
        assert stranger.post(REGISTER, body, 403)["code"] == "invitation_required"
        answers.add(stranger.response.content)
    assert len(answers) == 1
    member = {"email": "dora@example.org"}
    code = api(alice).post(f"/api/projects/{project.pk}/members", member)["inviteCode"]
    body = {"email": "dora@example.org", "password": factories.PASSWORD, "inviteCode": code}
    assert api().post(REGISTER, body)["user"]["role"] == "user"


@pytest.mark.usefixtures("exposed")
def test_a_stranger_is_not_first_at_a_server_that_others_reach(api: Any, db: None) -> None:
    for code in ("", "wrong", "0", " "):
        body = {**ACCOUNT, "setupCode": code}
        assert api().post(SETUP, body, 403)["code"] == "setup_code_required"
    assert not User.objects.exists()
    body = {**ACCOUNT, "setupCode": str(setup_code.current())}
    assert api().post(SETUP, body)["user"]["role"] == "super_admin"


@pytest.mark.usefixtures("exposed")
def test_setup_codes_and_invitations_cannot_be_tried_without_end(api: Any, db: None) -> None:
    stranger = api()
    for number in range(100):
        stranger.post(SETUP, {**ACCOUNT, "setupCode": str(number)}, 403)
    right = {**ACCOUNT, "setupCode": str(setup_code.current())}
    stranger.post(SETUP, right, 429)
    assert stranger.response["Retry-After"] == "3600"
    cache.clear()
    stranger.post(SETUP, right)


@pytest.mark.usefixtures("exposed")
def test_accounts_cannot_be_off_where_others_reach_the_server(api: Any, alice: User) -> None:
    from apps.accounts import authentication
    from apps.configuration.store import AUTH_ENABLED

    AUTH_ENABLED.set(False)
    authentication.forget_all()
    api().get("/api/projects", 401)
    assert api(alice).get("/api/projects") == []


def test_a_token_that_we_did_not_sign_is_none(api: Any, alice: User) -> None:
    claims = {
        "sub": str(alice.pk),
        "tv": alice.token_version,
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
    }
    forged = [
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, "x" * 32, algorithm="HS256"),
        jwt.encode({**claims, "exp": 1}, tokens._key(), algorithm="HS256"),
        jwt.encode({**claims, "tv": 99}, tokens._key(), algorithm="HS256"),
    ]
    for token in forged:
        api(token).get("/api/auth/me", 401)
    good = jwt.encode(claims, tokens._key(), algorithm="HS256")
    assert api(good).get("/api/auth/me")["email"] == alice.email


def test_who_has_read_the_database_has_no_token(api: Any, alice: User) -> None:
    token = factories.make_token(alice)
    digest = PersonalToken.objects.get().digest
    for stolen in (digest, f"kba_{digest}", token[:-1], token.upper()):
        api(stolen).get("/api/projects", 401)
    assert api(token).get("/api/projects") == []
