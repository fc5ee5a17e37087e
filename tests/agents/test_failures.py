"""The sentences by which people hear why an attempt failed, or why it waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.agents import wording
from apps.agents.models import AgentSession
from apps.agents.runtime.failures import Failed, from_rpc


def failure(text: str, *, status: int, kind: str = "") -> Failed:
    data: dict[str, Any] = {"errorKind": kind, "status": status, "message": text}
    return from_rpc("Our agent", -32603, text, data, "")


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("The provider refused the API key (HTTP 401): invalid x-api-key", 401, "authentication"),
        ("The provider limits the rate of requests (HTTP 429): Slow down.", 429, "rate_limit"),
        ("The provider is overloaded (HTTP 529): Overloaded", 529, "server_error"),
        ("The provider's quota or credit is used up (HTTP 402): Pay", 402, "quota"),
    ],
)
def test_what_the_provider_did_is_said_once(text: str, status: int, kind: str) -> None:
    message = failure(text, status=status, kind=kind).message
    assert message.startswith(text.rstrip("."))
    assert message.count("The provider") == 1
    assert ".." not in message


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_bare_word_of_an_agent_is_put_into_a_sentence(status: int) -> None:
    message = failure("Nope.", status=status).message
    assert message.startswith("The provider")
    assert ": Nope. " in f"{message} "


def test_a_refused_key_says_how_to_go_on() -> None:
    failed = failure("invalid x-api-key", status=401)
    assert failed.code == "auth_failed"
    assert "choose another" in failed.message
    assert failed.message.endswith("then send a message to go on.")


def test_a_limit_says_to_the_second_when_it_ends() -> None:
    until = datetime(2026, 1, 31, 12, 0, 30, 123_456, tzinfo=UTC)
    session = AgentSession(
        state="waiting", waiting_for={"kind": "limit", "until": f"{until:%Y-%m-%dT%H:%M:%S.%f}Z"}
    )
    assert str(wording.sentence(session)).endswith("on 2026-01-31 at 12:00:30 UTC.")


@pytest.mark.parametrize("cancel_requested", [False, True])
def test_of_a_silent_worker_it_is_said_that_its_container_may_have_to_be_restarted(
    cancel_requested: bool,
) -> None:
    session = AgentSession(state="running", cancel_requested=cancel_requested)
    said = str(wording.sentence(session, silent=True))
    assert "no sign of life" in said
    assert "container" in said
    assert "restart" in said
