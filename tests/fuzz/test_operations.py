"""Whatever the document lets callers send, and much that it doesn't, is answered as the document says.

A few examples an operation, the same each time; `make fuzz` tries many more, each time others
(`KANBAN_TEST_EXAMPLES`).
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
import schemathesis
from django.db import transaction
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from apps.accounts import authentication, tokens
from apps.accounts.models import User
from apps.cards import bodies
from apps.operations import health
from apps.runs import leases
from tests import factories
from tests.client import Whole
from tests.contract.document import key, undeclared
from tests.contract.world import World
from tests.fuzz.cases import AS_MANY, CALLERS, OPERATIONS, REAL, cases_of, name_what_is_there

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def callers(world: World) -> dict[str, str]:
    people = {
        name: tokens.issue(User.objects.get(email__startswith=name)) for name in ("alice", "root")
    }
    project_id = world.ids["projectId"]
    bot = factories.make_token(User.objects.get(email__startswith="alice"), project_id=project_id)
    return {**people, "bot": bot, "nobody": ""}


@pytest.fixture(autouse=True)
def _everything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as health can tell."""
    monkeypatch.setattr(health, "_redis_answers", lambda: True)
    monkeypatch.setattr(leases, "_started", time.monotonic())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.label)
def test_every_answer_is_declared(world: World, callers: dict[str, str], operation: Any) -> None:
    @AS_MANY
    @given(case=cases_of(operation), caller=CALLERS, real=REAL)
    def answered(case: Any, caller: str, real: bool) -> None:
        if real:
            name_what_is_there(case, world)
        answer, response = _send(case, callers[caller])
        case.validate_response(response, checks=CHECKS)
        assert undeclared(*key(operation.method, operation.path), answer) == []

    answered()


def _send(case: Any, token: str) -> tuple[Any, schemathesis.Response]:
    """Django's answer, and the same as schemathesis has it; after that everything is as before."""
    asked = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    headers = {name: value for name, value in asked.headers.items() if name != "Content-Length"}
    kind = headers.pop("Content-Type", "application/json")
    headers = {name: _text(value) for name, value in headers.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = asked.body or b""
    authentication.forget_all()
    bodies.forget_all()
    with transaction.atomic():
        answer: Any = Whole(raise_request_exception=False).generic(
            asked.method, asked.path_url, body, content_type=_text(kind), headers=headers
        )
        transaction.set_rollback(True)
    response = schemathesis.Response(
        status_code=answer.status_code,
        headers={name.lower(): [value] for name, value in answer.headers.items()},
        content=answer.content,
        request=asked,
        elapsed=0.0,
        verify=False,
    )
    return answer, response


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
