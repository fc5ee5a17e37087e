"""The OpenAPI document, and what an answer has that it doesn't say, or lacks that it says."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from apps.operations.openapi import generator, sockets

Schema = dict[str, Any]


def key(method: str, path: str) -> tuple[str, str]:
    """As `Route.key` and `Endpoint.key` are."""
    return method.upper(), re.sub(r"\{\w+\}", "{}", path)


@cache
def operations() -> dict[tuple[str, str], Schema]:
    return {
        key(method, path): operation
        for path, methods in generator.document()["paths"].items()
        for method, operation in methods.items()
    }


def closed(schema: Any) -> Any:
    """The same for what may have no key that the schema doesn't name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if found.get("type") == "object" and isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


@cache
def _components() -> Schema:
    return {"components": closed(copy.deepcopy(generator.document()["components"]))}


@cache
def _validator(method: str, path: str, status: str) -> Draft202012Validator | None:
    """None where no JSON is answered."""
    response = answer_of(operations()[method, path], status)
    content = (response or {}).get("content", {}).get("application/json")
    if content is None:
        return None
    return Draft202012Validator({**closed(copy.deepcopy(content["schema"])), **_components()})


def answer_of(operation: Schema, status: str) -> Schema | None:
    found: Schema | None = operation["responses"].get(status)
    if found is not None and "$ref" in found:
        name = found["$ref"].rpartition("/")[2]
        found = generator.document()["components"]["responses"][name]
    return found


def undeclared(method: str, path: str, response: Any) -> list[str]:
    """Nothing when the answer is as the document says; the path as in `key`."""
    operation = operations().get((method, path))
    if operation is None or response.status_code == 405:
        return []
    status = str(response.status_code)
    declared = answer_of(operation, status)
    if declared is None:
        return [f"{status} is not declared: {response.content[:300]!r}"]
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if "content" not in declared:
        return [f"{status} has a body"] if response.content else []
    if not {kind, "*/*"} & declared["content"].keys():
        return [f"{status} is {kind}"]
    validator = _validator(method, path, status)
    if validator is None:
        return []
    errors = validator.iter_errors(json.loads(response.content))
    return [f"{status} {each.json_path}: {each.message[:300]}" for each in errors]


@cache
def _definitions() -> Schema:
    return {"$defs": closed(copy.deepcopy(sockets.document()["$defs"]))}


@cache
def _frame_validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**_definitions(), "$ref": f"#/$defs/{name}"})


def wrong_frame(frame: Any, direction: str = "sent") -> list[str]:
    """What a message of the socket has that its schema doesn't say, or lacks that it says."""
    name = f"{direction}.{frame['type']}"
    if name not in _definitions()["$defs"]:
        return [f"{name} is not described"]
    errors = _frame_validator(name).iter_errors(frame)
    return [f"{each.json_path}: {each.message[:300]}" for each in errors]
