"""JSON Schema of every message of `/api/ws`, in and out."""

from __future__ import annotations

from functools import cache
from typing import Any

from apps.common.envelope import dumps
from apps.common.shapes import Components, Schema, schema_of
from apps.operations.openapi import collected

_PREFIX = "#/$defs/"


@cache
def document() -> dict[str, Any]:
    components = Components()
    sent = {
        **{kind: _event(kind, shape, components) for kind, shape in collected.events().items()},
        **{kind: _frame(kind, shape, components) for kind, shape in collected.frames().items()},
    }
    received = {kind: _request(kind, schema) for kind, schema in collected.requests().items()}
    definitions = {
        **components,
        **{f"sent.{kind}": schema for kind, schema in sent.items()},
        **{f"received.{kind}": schema for kind, schema in received.items()},
        "sent": {"oneOf": [{"$ref": f"{_PREFIX}sent.{kind}"} for kind in sent]},
        "received": {"oneOf": [{"$ref": f"{_PREFIX}received.{kind}"} for kind in received]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of /api/ws",
        "description": "`sent` is what the server says, `received` what it takes. What has a `seq` is"
        " stored: it comes in order and without a gap.",
        "anyOf": [{"$ref": f"{_PREFIX}sent"}, {"$ref": f"{_PREFIX}received"}],
        "$defs": definitions,
    }


def _event(kind: str, shape: Any, components: Components) -> Schema:
    frame = _frame(kind, shape, components)
    frame["properties"]["seq"] = {"type": "integer", "minimum": 1}
    return {**frame, "required": ["type", "seq", "data"]}


def _frame(kind: str, shape: Any, components: Components) -> Schema:
    data = schema_of(shape, components, prefix=_PREFIX)
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, "data": data},
        "required": ["type", "data"],
    }


def _request(kind: str, payload: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, "payload": payload},
        "required": ["type", "payload"],
    }


@cache
def document_json() -> bytes:
    return dumps(document())
