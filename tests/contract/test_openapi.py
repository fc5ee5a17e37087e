"""URLconf, table of endpoints and OpenAPI document hold each other, and the document what is answered."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from drf_spectacular import validation
from jsonschema import Draft202012Validator

from apps.agents import gate
from apps.cards.gate import BLOCKED
from apps.operations.openapi import collected, generator
from tests.contract.document import answer_of, operations
from tests.contract.endpoints import Endpoint, routed, routes
from tests.contract.world import World

pytestmark = [pytest.mark.django_db]

DOCUMENT = generator.document()
KNOWN = {"components": DOCUMENT["components"]}


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    rules = Path(validation.__file__).with_name("openapi_3_1_schema.json")
    jsonschema_rs.validate(json.loads(rules.read_text()), DOCUMENT)


def test_every_route_is_described() -> None:
    """In OPERATIONS of `schema.py` in the app of the view."""
    described = operations().keys()
    lacking = [route for route in routes() if route.key not in described]
    assert [(each.view.__name__, each.action or each.method.lower()) for each in lacking] == []


def test_every_description_is_of_a_route() -> None:
    there = {(route.view, route.action or route.method.lower()) for route in routes()}
    assert collected.operations().keys() - there == set()


def test_operations_have_ids_of_their_own_and_a_heading() -> None:
    ids = Counter(each["operationId"] for each in operations().values())
    assert [name for name, times in ids.items() if times > 1] == []
    assert all(name.isidentifier() for name in ids)
    headings = {each["name"] for each in DOCUMENT["tags"]}
    assert {tag for each in operations().values() for tag in each["tags"]} == headings


@pytest.mark.parametrize("endpoint", routed(), ids=lambda each: each.id)
def test_the_table_and_the_document_say_the_same(endpoint: Endpoint) -> None:
    operation = operations().get(endpoint.key)
    assert operation is not None, "describe it in OPERATIONS of schema.py in its app"
    assert str(endpoint.status) in operation["responses"]
    parameters = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
    assert set(endpoint.query) <= parameters
    assert operation["security"] == ([] if endpoint.who == "open" else [{"bearer": []}])
    if endpoint.body:
        [content] = operation["requestBody"]["content"].values()
        body = _resolved(content["schema"])
        assert endpoint.body.keys() <= body["properties"].keys()
        assert set(endpoint.required) == set(body.get("required", []))


def test_every_conflict_that_is_described_can_happen() -> None:
    root = Path(__file__).resolve().parents[2] / "apps"
    program = "".join(p.read_text() for p in root.rglob("*.py") if p.name != "schema.py")
    described = {
        code for told in collected.operations().values() for code in told.operation.conflicts
    }
    assert {code for code in described if f'"{code}"' not in program} == set()


def test_every_reason_of_the_gate_is_described_where_a_card_is_activated() -> None:
    tree = ast.parse(Path(gate.__file__).read_text())
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    codes = {
        each.args[0].value
        for each in calls
        if isinstance(each.func, ast.Name)
        and each.func.id == "Obstacle"
        and isinstance(each.args[0], ast.Constant)
    }
    assert len(codes) > 5
    described = operations()["POST", "/api/projects/{}/cards/{}/activate"]
    assert codes | {BLOCKED} <= set(
        re.findall(r"`(\w+)`", described["responses"]["409"]["description"])
    )


def test_people_are_told_only_of_addresses_that_there_are() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
    named = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/api/[\w/{}-]+)", text)
    assert len(named) > 3
    told = {(method, re.sub(r"\{\w+\}|[a-z]+_\d+", "{}", path)) for method, path in named}
    assert told - operations().keys() == set()


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def _contents() -> list[Any]:
    found = []
    for operation in operations().values():
        answers = [answer_of(operation, status) for status in operation["responses"]]
        for part in [operation.get("requestBody"), *answers]:
            content = (part or {}).get("content", {}).get("application/json")
            if content is not None:
                found.append((operation["operationId"], content))
    return found


def test_every_example_fits_its_schema() -> None:
    wrong = []
    for name, content in _contents():
        schema = content["schema"]
        example = content.get("example", _resolved(schema).get("examples", [None])[0])
        assert example is not None, name
        errors = Draft202012Validator({**schema, **KNOWN}).iter_errors(example)
        wrong += [(name, each.json_path, each.message) for each in errors]
    assert wrong == []


@pytest.mark.parametrize(
    "endpoint", [each for each in routed() if each.method == "GET"], ids=lambda each: each.id
)
def test_what_honours_an_etag_says_so(world: World, endpoint: Endpoint) -> None:
    caller = "root" if "admin" in endpoint.who else "olga"
    client = world.people["alice" if "owner" in endpoint.who else caller]
    client.request("GET", endpoint.address(world.ids), status=None, If_None_Match="*")
    unchanged = client.response.status_code == 304
    said = "304" in operations()[endpoint.key]["responses"]
    assert (unchanged, said) == (endpoint.honours_etag, endpoint.honours_etag)


def test_the_page_loads_nothing_but_our_own_script(api: Any) -> None:
    client = api(None)
    client.get("/api/docs")
    page = client.response.content.decode()
    assert "script-src 'self'" in client.response["Content-Security-Policy"]
    assert re.findall(r"""(?:src|href)=["']([^"']+)""", page) == ["/api/docs/page.js"]
    assert "<script>" not in page
    client.get("/api/docs/page.js")
    script = client.response.content.decode()
    assert client.response["Content-Type"].startswith("text/javascript")
    assert not re.search(r"innerHTML|eval\(|https?://", script)


def test_what_the_page_shows_holds_no_markup_but_what_is_code() -> None:
    """The page makes code of what stands in backticks, and knows nothing else."""
    shown = [
        answer.get("description", "") for answer in DOCUMENT["components"]["responses"].values()
    ]
    for operation in operations().values():
        parts = [operation, *operation.get("parameters", ()), *operation["responses"].values()]
        shown += [part.get(name, "") for part in parts for name in ("summary", "description")]
    assert any("`" in text for text in shown)
    plain = [re.sub("`[^`]+`", "", text) for text in shown]
    assert [text for text in plain if re.search(r"`|\*\*|__|\]\(|^\s*[#*-] ", text, re.M)] == []


def test_the_server_starts_without_what_makes_the_document() -> None:
    program = (
        "import os, sys, tempfile; os.environ['KANBAN_DATA_DIR'] = tempfile.mkdtemp();"
        "import kanban_agents.asgi; from django.urls import get_resolver; get_resolver().url_patterns;"
        "print({'drf_spectacular', 'jsonschema', 'yaml', 'inflection'} & sys.modules.keys())"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
