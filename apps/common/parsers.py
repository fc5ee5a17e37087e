"""JSON in: strict, and safe to store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

# What is kept as it comes, like the state of a panel, must go out again: orjson reads deeper than it writes.
_DEEPEST = 100


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


class StrictJSONParser(BaseParser):
    """An object, or nothing at all (an action needs no body); NaN and lone surrogates are no JSON."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        raw = stream.read()
        if not raw.strip():
            return {}
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None
        if raw.count(b"[") + raw.count(b"{") > _DEEPEST and _is_deep(body):
            raise ParseError(f"The body may be nested {_DEEPEST} levels deep at most.")
        if not isinstance(body, dict):
            raise ParseError("The body must be a JSON object.")
        return body
