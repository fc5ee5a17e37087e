"""An example for every schema, made of what the schema says and of words for what is called so."""

from __future__ import annotations

import re
from typing import Any

from apps.common.shapes import Schema

_WORDS: dict[str, Any] = {
    "title": "Mend the login form",
    "prompt": "The form forgets the email when the password is wrong.",
    "name": "Garden",
    "displayName": "Alice",
    "email": "alice@example.org",
    "password": "correct horse",
    "currentPassword": "correct horse",
    "newPassword": "better horse",
    "token": "eyJhbGciOi…",
    "inviteCode": "p4Zq0e0aQm8",
    "setupCode": "",
    "path": "/home/alice/garden",
    "columnName": "In Progress",
    "labels": ["bug"],
    "addLabels": ["bug"],
    "removeLabels": ["later"],
    "externalId": "ci-4711",
    "branch": "card/card_001",
    "baseBranch": "main",
    "branchTemplate": "card/{cardId}",
    "command": "make test",
    "apiKey": "sk-…wxyz",
    "provider": "anthropic",
    "baseUrl": "http://127.0.0.1:8080/v1",
    "model": "claude-sonnet-5",
    "agent": "builtin",
    "content": "Now in French, please.",
    "text": "Now in French, please.",
    "optionId": "allow",
    "answers": {"question_0": "blue"},
    "url": "http://127.0.0.1:37100/projects/proj_001/cards/card_001",
    "output": "12 passed\n",
    "diff": "diff --git a/hello.txt b/hello.txt\n…",
    "expiresAt": "2100-01-31T12:00:00Z",
    "epoch": "3f2a",
    "waitingFor": {"kind": "plan", "requestId": "req_001"},
    "options": [{"optionId": "allow", "name": "Allow", "kind": "allow_once"}],
}
_REFERENCE = re.compile(r"^#/(?:components/schemas|\$defs)/")


def example_of(schema: Schema, known: dict[str, Schema], name: str = "") -> Any:
    """`known` is what references lead to; `name` is what the value is called."""
    reference = schema.get("$ref")
    if reference is not None:
        return example_of(known[_REFERENCE.sub("", reference)], known, name)
    if "examples" in schema:
        return schema["examples"][0]
    if name in _WORDS:
        return _WORDS[name]
    for combined in ("allOf", "anyOf", "oneOf"):
        if combined in schema:
            return example_of(schema[combined][0], known, name)
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    return _by_type(schema, known, name)


def _by_type(schema: Schema, known: dict[str, Schema], name: str) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {
            each: example_of(inner, known, each)
            for each, inner in schema.get("properties", {}).items()
        }
    if kind == "array":
        return [example_of(schema["items"], known, name.removesuffix("s"))]
    if kind == "integer":
        return schema.get("minimum", 0)
    return {"string": "text", "number": 0.5, "boolean": True, "null": None}.get(str(kind), {})
