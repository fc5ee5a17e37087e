"""Signing in at a provider, with an authorization server of the test's own."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.cards import abandoned
from apps.cards.models import Card
from apps.credentials import oauth, verifying
from apps.credentials.models import Credential, OAuthAttempt
from apps.credentials.resolution import Usable, environment, resolve
from apps.organizations.models import Organization
from apps.projects.models import Project
from kanban_agents.env import OAUTH_PROVIDERS, OAuthClient
from tests import factories
from tests.fakes.raw_server import RawServer, Send, http
from tests.together import at_once

CALLBACK = "/api/credentials/oauth/callback"
TOKEN = "a-token-of-the-provider-0123456789"
SECRET = "the secret: of the client"

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class AuthorizationServer:
    """Its token endpoint checks what the RFCs say; `answer` is what it gives instead of a token."""

    def __init__(self, settings: Any) -> None:
        self._server = RawServer(self._respond)
        self.answer: bytes | None = None
        self.forms: list[dict[str, str]] = []
        self.heads: list[str] = []
        self._challenges: dict[str, str] = {}
        self._used: set[str] = set()
        url = self._server.url
        self.client = OAuthClient(
            id="board",
            authorization_url=f"{url}/authorize?tenant=1",
            token_url=f"{url}/token",
            secret=SECRET,
            scope="models read",
            base_url=f"{url}/v1",
        )
        settings.OAUTH_CLIENTS = {"openai-compatible": self.client}

    def __enter__(self) -> AuthorizationServer:
        self._server.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._server.__exit__(*reason)

    def consent(self, authorization_url: str) -> dict[str, str]:
        """A person says yes: what the provider adds to the redirect address."""
        asked = dict(parse_qsl(urlsplit(authorization_url).query))
        assert asked["tenant"] == "1"
        assert asked["response_type"] == "code"
        assert asked["client_id"] == "board"
        assert asked["scope"] == "models read"
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"http://testserver{CALLBACK}"
        code = f"code-{len(self._challenges)}"
        self._challenges[code] = asked["code_challenge"]
        return {"code": code, "state": asked["state"]}

    def _respond(self, send: Send) -> None:
        head, _, body = self._server.asked[-1].decode().partition("\r\n\r\n")
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.forms.append(form)
        self.heads.append(head)
        if self.answer is not None:
            send(self.answer)
            return
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if form["code"] in self._used or self._challenges[form["code"]] != challenge:
            send(http(400, b'{"error": "invalid_grant"}'))
            return
        self._used.add(form["code"])
        send(http(200, json.dumps({"access_token": TOKEN, "token_type": "Bearer"}).encode()))


@pytest.fixture
def provider(settings: Any) -> Iterator[AuthorizationServer]:
    with AuthorizationServer(settings) as server:
        yield server


class Browser:
    """Keeps cookies, and follows where it is sent."""

    def __init__(self, api: Any, user: User) -> None:
        self.api = api(user)
        self.client = self.api._client

    def start(self, provider: str = "openai-compatible") -> dict[str, str]:
        return dict(self.api.post("/api/credentials/oauth/init", {"provider": provider}, 200))

    def come_back(self, **given: str) -> dict[str, str]:
        return arrive(self.client, **given)

    def status(self, made: dict[str, str]) -> tuple[str, str | None]:
        found = self.api.get(f"/api/credentials/{made['id']}/oauth/status")
        assert found.keys() == {"status", "error"}
        return found["status"], found["error"]


def arrive(client: Client, **given: str) -> dict[str, str]:
    # The way back carries no token of ours.
    response = client.get(CALLBACK, given, headers={"Authorization": ""})
    assert response.status_code == 302, response.content
    assert response["Cache-Control"] == "no-store"
    target = urlsplit(response["Location"])
    assert (target.scheme, target.netloc, target.path) == ("", "", "/")
    return dict(parse_qsl(target.query))


@pytest.fixture
def browser(api: Any, alice: User) -> Browser:
    return Browser(api, alice)


def test_whoever_signs_in_has_a_credential_that_agents_can_use(
    browser: Browser, provider: AuthorizationServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = browser.start()
    assert made.keys() == {"id", "authorizationUrl"}
    path = f"/api/credentials/{made['id']}"
    before = browser.api.get(path)
    assert (before["name"], before["status"]) == ("Model server (OAuth)", "pending")
    assert (before["authType"], before["apiKey"]) == ("oauth", None)
    assert browser.status(made) == ("pending", None)
    back = provider.consent(made["authorizationUrl"])
    assert browser.come_back(**back) == {"oauth": "authorized", "credential": made["id"]}
    assert browser.status(made) == ("authorized", None)
    after = browser.api.get(path)
    assert (after["status"], after["apiKey"]) == ("ready", None)
    row = Credential.objects.get()
    assert row.sealed is not None
    assert TOKEN.encode() not in bytes(row.sealed)
    assert TOKEN not in caplog.text
    usable = resolve([row.pk])
    assert usable is not None
    assert environment(usable) == {
        "OPENAI_API_KEY": TOKEN,
        "OPENAI_BASE_URL": provider.client.base_url,
    }
    (form,) = provider.forms
    assert form["grant_type"] == "authorization_code"
    assert form["redirect_uri"] == f"http://testserver{CALLBACK}"
    pair = base64.b64encode(b"board:the%20secret%3A%20of%20the%20client").decode()
    assert f"Authorization: Basic {pair}" in provider.heads[0]


def test_a_card_that_waits_for_a_key_says_so_until_somebody_has_signed_in(
    browser: Browser, provider: AuthorizationServer, project: Project
) -> None:
    made = browser.start()
    browser.api.put(f"/api/projects/{project.pk}/credential", {"credentialId": made["id"]})
    card = factories.make_card(project)
    path = f"/api/projects/{project.pk}/cards/{card.pk}"
    active = factories.column(project, "active")
    moved = browser.api.patch(f"{path}/move", {"columnId": active.pk})
    assert moved["deferredReason"]["code"] == "no_credential"
    browser.come_back(**provider.consent(made["authorizationUrl"]))
    after = browser.api.get(path)
    assert (after["agentStatus"], after["deferredReason"]["code"]) == (None, "deferred")


def test_an_answer_counts_once(browser: Browser, provider: AuthorizationServer) -> None:
    made = browser.start()
    back = provider.consent(made["authorizationUrl"])
    ((name, cookie),) = browser.client.cookies.items()
    value = cookie.value
    browser.come_back(**back)
    replayed = provider.consent(made["authorizationUrl"])
    browser.client.cookies[name] = value
    assert browser.come_back(**replayed)["oauth"] == "authorized"
    browser.client.cookies[name] = value
    assert browser.come_back(state=back["state"], error="access_denied")["oauth"] == "authorized"
    assert len(provider.forms) == 1
    assert browser.status(made) == ("authorized", None)


@pytest.mark.django_db(transaction=True)
def test_of_answers_that_come_at_once_one_counts(
    browser: Browser, provider: AuthorizationServer
) -> None:
    made = browser.start()
    ((name, cookie),) = browser.client.cookies.items()
    back = provider.consent(made["authorizationUrl"])

    def come_back() -> str:
        client = Client()
        client.cookies[name] = cookie.value
        return arrive(client, **back)["oauth"]

    ended = at_once([come_back] * 6)
    assert set(ended) <= {"authorized", "pending"}
    assert "authorized" in ended
    assert len(provider.forms) == 1
    assert browser.status(made) == ("authorized", None)


def test_another_browser_can_not_sign_in_for_it(
    api: Any, browser: Browser, bob: User, provider: AuthorizationServer
) -> None:
    made = browser.start()
    back = provider.consent(made["authorizationUrl"])
    # Alice has lured Bob to the provider; his consent must not become her credential.
    assert arrive(Client(), **back) == {"oauth": "unknown"}
    bobs = Browser(api, bob)
    bobs.start()
    assert bobs.come_back(**back) == {"oauth": "unknown"}
    assert provider.forms == []
    assert browser.status(made) == ("pending", None)
    assert browser.come_back(**back)["oauth"] == "authorized"


def test_a_state_that_was_not_given_out_is_nothing(
    browser: Browser, provider: AuthorizationServer
) -> None:
    made = browser.start()
    back = provider.consent(made["authorizationUrl"])
    number, _, secret = back["state"].partition(".")
    other = browser.start()
    others = provider.consent(other["authorizationUrl"])["state"].partition(".")[0]
    for state in (
        "",
        number,
        f"{number}.",
        f"{number}.{secret}x",
        f"{others}.{secret}",
        f"999.{secret}",
        f"{'9' * 30}.{secret}",
        f"-1.{secret}",
        f"²{number}.{secret}",
        "x" * 100_000,
        f"{number}.\0",
    ):
        assert browser.come_back(code="stolen", state=state) == {"oauth": "unknown"}
    assert provider.forms == []
    assert browser.come_back(**back)["oauth"] == "authorized"


def test_ten_minutes_are_all_there_is(browser: Browser, provider: AuthorizationServer) -> None:
    made = browser.start()
    attempt = OAuthAttempt.objects.get()
    left = attempt.expires_at - timezone.now()
    assert timedelta(minutes=9, seconds=50) < left <= timedelta(minutes=10)
    OAuthAttempt.objects.update(expires_at=timezone.now())
    assert browser.status(made)[0] == "expired"
    back = provider.consent(made["authorizationUrl"])
    assert browser.come_back(**back) == {"oauth": "expired", "credential": made["id"]}
    assert provider.forms == []
    assert Credential.objects.get().sealed is None


def test_a_sign_in_that_nobody_came_back_from_is_cleared_away_after_a_day(
    browser: Browser, provider: AuthorizationServer, project: Project, alice: User
) -> None:
    made = {name: browser.start()["id"] for name in ("lost", "late", "project", "default", "card")}
    factories.make_organization((alice, "admin"))
    pk = {name: int(each.removeprefix("cred_")) for name, each in made.items()}
    Project.objects.update(credential=pk["project"])
    Organization.objects.update(default_credential=pk["default"])
    card = factories.make_card(project)
    Card.objects.filter(pk=card.pk).update(credential=pk["card"])
    signed_in = browser.start()
    browser.come_back(**provider.consent(signed_in["authorizationUrl"]))
    key = factories.make_credential(alice, status=Credential.Status.PENDING).pk

    now = timezone.now()
    OAuthAttempt.objects.update(expires_at=now - timedelta(hours=25))
    OAuthAttempt.objects.filter(credential=pk["late"]).update(expires_at=now - timedelta(hours=23))
    abandoned.remove_old("h1")
    gone = {pk["lost"]}
    kept = {*pk.values(), int(signed_in["id"].removeprefix("cred_")), key} - gone
    assert set(Credential.objects.values_list("pk", flat=True)) == kept
    browser.api.get(f"/api/credentials/{made['lost']}", 404)


def test_who_declines_is_told_so(browser: Browser, provider: AuthorizationServer) -> None:
    made = browser.start()
    state = provider.consent(made["authorizationUrl"])["state"]
    told = {"error": "access_denied", "error_description": "You said\r\nno. " + "x" * 5_000}
    assert browser.come_back(state=state, **told)["oauth"] == "failed"
    status, error = browser.status(made)
    assert status == "failed"
    assert error is not None
    assert error.startswith("The provider says: You said no. xxx")
    assert len(error) < 400
    assert provider.forms == []
    assert browser.api.get(f"/api/credentials/{made['id']}")["status"] == "failed"


ANSWERS = {
    "refused": (
        http(400, json.dumps({"error": "invalid_client", "error_description": SECRET}).encode()),
        "refused to give a token (400): ****",
    ),
    "no token": (http(200, b"{}"), "without a token"),
    "no JSON": (http(200, b"<html>"), "without a token"),
    "no object": (http(200, b"[1]"), "without a token"),
    "a token of another kind": (
        http(200, b'{"access_token": "abc", "token_type": "mac"}'),
        "without a token",
    ),
    "a token that is no text": (http(200, b'{"access_token": {"a": 1}}'), "without a token"),
    "a token that breaks a header": (
        http(200, b'{"access_token": "abc\\r\\nX-Evil: 1"}'),
        "without a token",
    ),
    "elsewhere": (http(302, b"", "Location: http://127.0.0.1:1/"), "refused to give a token (302)"),
    "garbage": (b"garbage", "does not speak HTTP"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_provider_that_gives_no_token_is_quoted(
    browser: Browser, provider: AuthorizationServer, kind: str
) -> None:
    provider.answer, expected = ANSWERS[kind]
    made = browser.start()
    back = provider.consent(made["authorizationUrl"])
    assert browser.come_back(**back)["oauth"] == "failed"
    status, error = browser.status(made)
    assert status == "failed"
    assert expected in str(error)
    assert SECRET not in str(error)
    assert resolve([Credential.objects.get().pk]) is None


def test_an_answer_without_a_code_is_none(browser: Browser, provider: AuthorizationServer) -> None:
    made = browser.start()
    state = provider.consent(made["authorizationUrl"])["state"]
    assert browser.come_back(state=state)["oauth"] == "failed"
    assert browser.status(made) == ("failed", "The provider sent no code.")


def test_a_credential_that_was_deleted_meanwhile_stays_so(
    browser: Browser, provider: AuthorizationServer
) -> None:
    made = browser.start()
    back = provider.consent(made["authorizationUrl"])
    browser.api.delete(f"/api/credentials/{made['id']}")
    assert browser.come_back(**back) == {"oauth": "unknown"}
    assert not Credential.objects.exists()


def test_without_a_client_nobody_can_sign_in(
    browser: Browser, provider: AuthorizationServer
) -> None:
    post = browser.api.post
    error = post("/api/credentials/oauth/init", {"provider": "anthropic"}, 400)
    assert error["code"] == "oauth_not_available"
    assert "openai-compatible" in error["message"]
    assert post("/api/credentials/oauth/init", {"provider": "nobody"}, 400)["code"] == "invalid"
    assert not Credential.objects.exists()


def test_the_way_back_is_that_of_the_public_address(
    browser: Browser, provider: AuthorizationServer, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://board.example.org"
    made = browser.start()
    asked = dict(parse_qsl(urlsplit(made["authorizationUrl"]).query))
    assert asked["redirect_uri"] == f"https://board.example.org{CALLBACK}"
    (cookie,) = browser.client.cookies.values()
    assert cookie["secure"]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"]) == ("Lax", CALLBACK)


def test_a_token_is_not_replaced_by_a_key(browser: Browser, provider: AuthorizationServer) -> None:
    made = browser.start()
    path = f"/api/credentials/{made['id']}"
    browser.api.patch(path, {"apiKey": "sk-0123456789abcdef"}, 400)
    browser.come_back(**provider.consent(made["authorizationUrl"]))
    browser.api.patch(path, {"apiKey": "sk-0123456789abcdef"}, 400)
    changed = browser.api.patch(path, {"name": "Ours", "apiKey": None})
    assert (changed["name"], changed["status"]) == ("Ours", "ready")
    assert resolve([Credential.objects.get().pk]) is not None


def test_others_learn_nothing_of_it(
    api: Any, browser: Browser, bob: User, root: User, provider: AuthorizationServer
) -> None:
    made = browser.start()
    path = f"/api/credentials/{made['id']}/oauth/status"
    api(bob).get(path, 404)
    api(None).get(path, 401)
    assert api(root).get(path)["status"] == "pending"
    key = browser.api.post("/api/credentials", {"name": "x", "provider": "openai"})
    error = browser.api.get(f"/api/credentials/{key['id']}/oauth/status", 409)
    assert error["code"] == "not_oauth"


def test_a_claude_token_reaches_its_agent_and_is_asked_about_as_a_token() -> None:
    row = Credential(provider="claude-login", auth_type="oauth", base_url=None)
    assert verifying._key(row, TOKEN)["Authorization"] == f"Bearer {TOKEN}"
    usable = Usable(1, "claude-login", TOKEN, None, None, "card")
    assert environment(usable) == {"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}


def test_all_that_can_have_a_client_are_providers_with_a_name() -> None:
    assert {str(each) for each in oauth._NAMES} == set(OAUTH_PROVIDERS)
