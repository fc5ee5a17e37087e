"""Tokens that end, with a token endpoint of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from apps.accounts.models import User
from apps.credentials import oauth, renewing
from apps.credentials.models import Credential, OAuthAttempt
from apps.credentials.resolution import resolve
from apps.credentials.sealing import seal
from kanban_agents.env import OAuthClient
from tests.fakes.raw_server import RawServer, Send, http
from tests.together import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

REFUSED = http(400, b'{"error": "invalid_grant", "error_description": "it was used before"}')


class TokenEndpoint:
    """Each refresh token counts once, as RFC 9700 wants of those of public clients."""

    def __init__(self, settings: Any) -> None:
        self._server = RawServer(self._respond)
        self.answer: bytes | None = None
        self.good = "refresh-0"
        self.given = 0
        settings.OAUTH_CLIENTS = {
            "openai": OAuthClient(
                id="board",
                authorization_url="https://login.example.org/authorize",
                token_url=f"{self._server.url}/token",
            )
        }

    def __enter__(self) -> TokenEndpoint:
        self._server.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._server.__exit__(*reason)

    @property
    def forms(self) -> list[dict[str, str]]:
        bodies = [asked.decode().partition("\r\n\r\n")[2] for asked in self._server.asked]
        return [{name: values[0] for name, values in parse_qs(body).items()} for body in bodies]

    def _respond(self, send: Send) -> None:
        if self.answer is not None:
            send(self.answer)
            return
        if self.forms[-1].get("refresh_token") != self.good:
            send(REFUSED)
            return
        self.given += 1
        self.good = f"refresh-{self.given}"
        grant = {
            "access_token": f"token-{self.given}-of-the-provider",
            "token_type": "bearer",
            "refresh_token": self.good,
            "expires_in": 3600,
        }
        send(http(200, json.dumps(grant).encode()))


@pytest.fixture
def endpoint(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenEndpoint]:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with TokenEndpoint(settings) as endpoint:
        yield endpoint


@pytest.fixture
def credential(alice: User) -> Credential:
    """Its token has a minute left."""
    made = Credential.objects.create(
        owner=alice,
        name="OpenAI (OAuth)",
        provider="openai",
        auth_type=Credential.AuthType.OAUTH,
        status=Credential.Status.READY,
        expires_at=timezone.now() + timedelta(minutes=1),
    )
    made.sealed = seal("token-0-of-the-provider", credential_id=made.pk, owner_id=alice.pk)
    made.renewal = seal("refresh-0", credential_id=made.pk, owner_id=alice.pk)
    made.save()
    OAuthAttempt.objects.create(
        credential=made, verifier=b"", redirect_uri="", expires_at=timezone.now()
    )
    return made


def token(credential: Credential) -> str | None:
    found = resolve([credential.pk])
    return found.secret if found else None


def test_a_token_that_ends_soon_is_replaced_by_the_next(
    endpoint: TokenEndpoint, credential: Credential
) -> None:
    before = resolve([credential.pk])
    assert before is not None
    assert before.ends_soon
    renewing.renew(credential.pk)
    assert endpoint.forms == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-0", "client_id": "board"}
    ]
    after = resolve([credential.pk])
    assert after is not None
    assert after.secret == "token-1-of-the-provider"
    assert not after.ends_soon
    renewing.renew(credential.pk)
    assert endpoint.given == 1
    Credential.objects.update(expires_at=timezone.now())
    renewing.renew(credential.pk)
    assert token(credential) == "token-2-of-the-provider"


def test_the_refresh_token_lies_nowhere_in_the_open(
    api: Any, alice: User, endpoint: TokenEndpoint, credential: Credential, caplog: Any
) -> None:
    caplog.set_level("DEBUG")
    renewing.renew(credential.pk)
    credential.refresh_from_db()
    assert b"refresh-1" not in bytes(credential.renewal or b"")
    shown = json.dumps(api(alice).get(f"/api/credentials/{credential.pk}"))
    for secret in ("refresh-0", "refresh-1", "token-1-of-the-provider"):
        assert secret not in caplog.text
        assert secret not in shown


def test_a_refusal_ends_the_credential_and_says_what_to_do(
    endpoint: TokenEndpoint, credential: Credential
) -> None:
    endpoint.good = "another"
    renewing.renew(credential.pk)
    credential.refresh_from_db()
    status = oauth.status(credential)
    assert status.status == "failed"
    assert "it was used before" in str(status.error)
    assert "Sign in again" in str(status.error)
    assert resolve([credential.pk]) is None
    renewing.renew(credential.pk)
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize(
    "answer", [http(503, b"busy"), http(200, b"{}"), b"garbage", http(400, b"[]")]
)
def test_a_provider_that_gives_nothing_now_is_asked_again(
    endpoint: TokenEndpoint, credential: Credential, answer: bytes
) -> None:
    endpoint.answer = answer
    renewing.renew(credential.pk)
    assert token(credential) == "token-0-of-the-provider"
    endpoint.answer = None
    renewing.renew(credential.pk)
    assert token(credential) == "token-1-of-the-provider"


def test_without_its_client_the_token_stays_as_it_is(
    endpoint: TokenEndpoint, credential: Credential, settings: Any
) -> None:
    clients, settings.OAUTH_CLIENTS = settings.OAUTH_CLIENTS, {}
    renewing.renew(credential.pk)
    assert token(credential) == "token-0-of-the-provider"
    settings.OAUTH_CLIENTS = clients
    renewing.renew(credential.pk)
    assert token(credential) == "token-1-of-the-provider"


def test_one_that_died_while_it_asked_holds_up_nobody_for_long(
    endpoint: TokenEndpoint, credential: Credential
) -> None:
    Credential.objects.update(renewing_until=timezone.now() + timedelta(seconds=1))
    renewing.renew(credential.pk)
    assert token(credential) == "token-1-of-the-provider"


@pytest.mark.django_db(transaction=True)
def test_what_the_provider_gave_outlives_a_database_that_is_away_for_a_moment(
    endpoint: TokenEndpoint, credential: Credential
) -> None:
    refused = []

    def away(execute: Any, sql: str, *rest: Any) -> Any:
        if endpoint.given and sql.startswith("UPDATE") and len(refused) < 2:
            refused.append(sql)
            raise OperationalError("the database is away")
        return execute(sql, *rest)

    with connection.execute_wrapper(away):
        renewing.renew(credential.pk)
    assert len(refused) == 2
    assert token(credential) == "token-1-of-the-provider"
    assert len(endpoint.forms) == 1


@pytest.mark.django_db(transaction=True)
def test_of_those_who_ask_at_once_one_uses_the_refresh_token_and_all_have_the_new_one(
    endpoint: TokenEndpoint, credential: Credential
) -> None:
    def start() -> str | None:
        renewing.renew(credential.pk)
        return token(credential)

    assert set(at_once([start] * 6)) == {"token-1-of-the-provider"}
    assert len(endpoint.forms) == 1


def test_verifying_gets_the_next_token_first(
    api: Any, alice: User, endpoint: TokenEndpoint, credential: Credential
) -> None:
    Credential.objects.update(base_url="http://127.0.0.1:1")
    answer = api(alice).post(f"/api/credentials/{credential.pk}/verify", {}, 200)
    assert not answer["valid"]
    assert token(credential) == "token-1-of-the-provider"
