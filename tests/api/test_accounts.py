from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from django.core.cache import cache
from django.db import connection
from rest_framework.test import APIClient

from apps.accounts import authentication, joining, setup_code, tokens
from apps.accounts.models import Role, User
from apps.accounts.passwords import Argon2Hasher
from apps.configuration.store import AUTH_ENABLED
from kanban_agents.secrets import derive

PASSWORD = "correct horse"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any) -> Iterator[None]:
    monkeypatch.setattr(Argon2Hasher, "time_cost", 1)
    monkeypatch.setattr(Argon2Hasher, "memory_cost", 64)
    monkeypatch.setattr(Argon2Hasher, "parallelism", 1)
    settings.DATA_DIR = tmp_path
    settings.LOOPBACK = True
    settings.REGISTRATION = "open"
    settings.PUBLIC_URL = ""
    cache.clear()
    authentication.forget_all()
    yield
    authentication.forget_all()


def make(email: str, role: str = Role.USER, **fields: Any) -> User:
    fields.setdefault("display_name", email.partition("@")[0])
    return User.objects.create_user(email, PASSWORD, role=role, **fields)


@pytest.fixture
def root() -> User:
    return make("root@example.org", Role.SUPER_ADMIN)


@pytest.fixture
def client() -> APIClient:
    return APIClient()


def signed_in(token: str | User) -> APIClient:
    if isinstance(token, User):
        token = tokens.issue(token)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def post(client: APIClient, path: str, **body: Any) -> Any:
    return client.post(f"/api/{path}", body, format="json")


def error(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["message"]
    return str(body["error"]["code"])


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
