"""Whatever the document lets callers send, and much that it doesn't, is answered as the document says.

A few examples an operation, the same each time; `make fuzz` tries many more, each time others
(`KANBAN_TEST_EXAMPLES`).
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import requests
import schemathesis
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from apps.accounts import authentication, tokens
from apps.accounts.models import User
from apps.cards import bodies
from apps.operations import health
from apps.operations.openapi import generator
from apps.runs import leases
from tests import factories
from tests.client import Whole
from tests.contract.document import key, undeclared
from tests.contract.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

EXAMPLES = int(os.environ.get("KANBAN_TEST_EXAMPLES", "0"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(generator.document())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


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


def _known_ids(value: Any, world: World) -> Any:
    """The same with ids of what there is, where it has some of their names."""
    if isinstance(value, dict):
        return {
            name: world.ids[name] if name in world.ids else _known_ids(inner, world)
            for name, inner in value.items()
        }
    return value


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.label)
def test_every_answer_is_declared(world: World, callers: dict[str, str], operation: Any) -> None:
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )
    who = st.sampled_from(["alice", "alice", "alice", "root", "bot", "nobody"])

    @settings(
        max_examples=EXAMPLES or 6,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, caller=who, real=st.sampled_from([True, True, True, False]))
    def answered(case: Any, caller: str, real: bool) -> None:
        if real:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = str(world.ids[name])
            if isinstance(case.body, dict):
                case.body = _known_ids(case.body, world)
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
