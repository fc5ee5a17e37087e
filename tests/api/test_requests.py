"""What a late answer to an agent's request hears, and addresses in which no id stands where one should."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards.models import Card
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(project)


def test_an_answer_that_comes_too_late_hears_what_was_answered_by_whom_and_when(
    api: Any, card: Card, alice: User, bob: User
) -> None:
    session = factories.make_session(card, state="waiting", permission_mode="ask")
    options = [
        {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
        {"optionId": "no", "name": "Refuse", "kind": "reject_once"},
    ]
    asked = factories.make_request(session, title="Deploy", options=options)
    url = f"/api/projects/{card.project_id}/cards/{card.pk}/agent/requests/{asked.pk}/answer"
    answered = api(bob).post(url, {"optionId": "yes"}, 200)
    assert api(bob).post(url, {"optionId": "yes"}, 200)["answer"] == answered["answer"]
    late = api(alice).post(url, {"optionId": "no"}, 409)
    assert late["code"] == "request_closed"
    assert "Bob chose “Allow” for “Deploy”" in late["message"]
    day, time = answered["answeredAt"][:19].split("T")
    assert f"on {day} at {time} UTC" in late["message"]
    assert late["details"]["request"]["answeredBy"]["name"] == "Bob"
    assert late["details"]["request"]["answer"]["optionId"] == "yes"


@pytest.mark.parametrize(
    ("method", "path", "kind", "example"),
    [
        ("POST", "projects/{project}/cards/{card}/agent/requests/abc/answer", "request", "req_001"),
        ("POST", "projects/{project}/cards/{card}/agent/messages/x/send-now", "message", "msg_001"),
        ("GET", "projects/{project}/cards/proj_001", "card", "card_001"),
        ("GET", "projects/abc", "project", "proj_001"),
        ("GET", "projects/abc/cards/{card}/diff", "project", "proj_001"),
        ("GET", "cards/12345678901234567890", "card", "card_001"),
        ("PATCH", "projects/{project}/boards/main", "board", "board_001"),
        ("DELETE", "credentials/-1", "credential", "cred_001"),
    ],
)
def test_what_is_no_id_is_the_id_of_nothing(
    api: Any, card: Card, bob: User, method: str, path: str, kind: str, example: str
) -> None:
    url = "/api/" + path.format(project=card.project_id, card=card.pk)
    refused = api(bob).request(method, url, {}, 404)
    assert refused["code"] == "not_found"
    assert re.match(f"There is no {kind} “.+”.* {example}", refused["message"])
