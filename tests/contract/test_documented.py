"""Every endpoint keeps what the table says of its status, its answer and its body."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards.models import Card
from apps.credentials.models import Credential
from apps.operations import health
from apps.projects.models import Project
from apps.runs import leases
from apps.scripts import runs
from apps.scripts.models import Script
from kanban_agents.env import OAuthClient
from tests.client import Form
from tests.contract.document import undeclared
from tests.contract.endpoints import Endpoint, differences, routed
from tests.contract.world import World

# The world's own fixture opens the database, but for a marked test only is there one.
pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

# Whom the example in the table succeeds for.
CALLERS = {
    "organization member": "olga",
    "organization admin": "olga",
    "admin": "eve",
    "super admin": "root",
}
WRONG = {"text": {}, "number": "three", "flag": "yes", "[text]": 5, "[object]": 5}


# What has to be otherwise than in the world for an endpoint to succeed.
BEFORE: dict[str, Callable[[World], Any]] = {
    "auth.setup": lambda world: User.objects.all().delete(),
    "organizations.delete": lambda world: Project.objects.update(organization=None),
    "cards.approve-auto": lambda world: Card.objects.update(pending_approval=True),
    "scripts.cancel": lambda world: runs.start(Script.objects.get(), by=None),
    "credentials.oauth-status": lambda world: Credential.objects.update(auth_type="oauth"),
    "cards.activate": lambda world: Project.objects.update(credential=world.ids["credentialId"]),
}


@pytest.fixture(autouse=True)
def _everything_runs(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """As far as health can tell."""
    there = "https://provider.example"
    settings.OAUTH_CLIENTS = {"openrouter": OAuthClient("board", f"{there}/in", f"{there}/token")}
    monkeypatch.setattr(health, "_redis_answers", lambda: True)
    monkeypatch.setattr(leases, "_started", time.monotonic())


def _ask(world: World, endpoint: Endpoint, body: Any) -> Any:
    before = BEFORE.get(endpoint.id, lambda world: None)
    response = world.send(
        CALLERS.get(endpoint.who, "alice"),
        endpoint.method,
        endpoint.address(world.ids),
        body,
        lambda: before(world),
    )
    assert undeclared(*endpoint.key, response) == []
    return response


def _only(*, body: bool) -> list[Any]:
    """The endpoints, those with fields in a JSON body only if asked for."""
    fitting = [each for each in routed() if not body or (each.body and not each.takes_file)]
    return [pytest.param(each, id=each.id) for each in fitting]


@pytest.mark.parametrize("endpoint", _only(body=False))
def test_status_and_answer_are_as_documented(world: World, endpoint: Endpoint) -> None:
    response = _ask(world, endpoint, endpoint.request(world.ids))
    assert response.status_code == endpoint.status, response.content
    if endpoint.status == 204:
        assert response.content == b""
    elif endpoint.answer == "file":
        assert "attachment" in response["Content-Disposition"]
    elif endpoint.answer == "document":
        assert response.content
    elif endpoint.status != 302:
        answer = json.loads(response.content)
        assert answer.keys() == {"data"}
        assert differences(endpoint.answer or "any", answer["data"]) == []


@pytest.mark.parametrize("endpoint", _only(body=True))
def test_a_field_that_is_missing_or_of_another_kind_is_a_400_that_names_it(
    world: World, endpoint: Endpoint
) -> None:
    good = endpoint.request(world.ids)
    bad = [(name, {**good, name: WRONG[str(kind)]}) for name, kind in _kinds(endpoint)]
    bad += [(name, {n: v for n, v in good.items() if n != name}) for name in endpoint.required]
    for name, body in bad:
        response = _ask(world, endpoint, body)
        assert response.status_code == 400, (name, body, response.content)
        assert name in json.loads(response.content)["error"]["message"]


def _kinds(endpoint: Endpoint) -> list[tuple[str, str]]:
    kinds = [
        (name, f"[{kind[0]}]" if isinstance(kind, list) else str(kind))
        for name, kind in endpoint.body.items()
    ]
    return [(name, kind) for name, kind in kinds if kind in WRONG]


@pytest.mark.parametrize("endpoint", _only(body=True))
def test_what_is_no_json_object_is_refused(world: World, endpoint: Endpoint) -> None:
    for content in (b"{", b"[]", b'"text"', b"\xff", b"NaN"):
        response = _ask(world, endpoint, content)
        assert response.status_code == 400, (content, response.content)
        assert json.loads(response.content)["error"]["code"] == "invalid"


@pytest.mark.parametrize(
    "endpoint", [pytest.param(each, id=each.id) for each in routed() if each.takes_file]
)
def test_where_a_form_with_one_file_is_wanted_anything_else_is_refused(
    world: World, endpoint: Endpoint
) -> None:
    for content in ({}, b"{", b"\xff"):
        assert _ask(world, endpoint, content).status_code == 415
    for form in (Form.of(), Form.of(('Content-Disposition: form-data; name="file"', "no name"))):
        response = _ask(world, endpoint, form)
        assert response.status_code == 400, response.content
        assert "file" in json.loads(response.content)["error"]["message"]


@pytest.mark.parametrize("path", sorted({each.path for each in routed()}))
def test_another_method_is_a_405_that_names_the_right_ones(world: World, path: str) -> None:
    here = [each for each in routed() if each.path == path]
    methods = {each.method for each in here}
    for method in {"POST", "PUT", "PATCH", "DELETE"} - methods:
        response = world.send("root", method, here[0].address(world.ids), {})
        assert response.status_code == 405, (method, response.content)
        assert methods <= set(response["Allow"].replace(",", "").split())
        assert json.loads(response.content)["error"]["code"] == "method_not_allowed"
