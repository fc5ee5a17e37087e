"""Public ids: integers inside, `<prefix>_<at least three digits>` on the wire.

Input may be `card_001`, `card_1`, `"1"` or `1`. Nobody else builds or takes apart such a string.
They are guessable by design; scoping is what protects things.
"""

from __future__ import annotations

import re
from typing import Any

PREFIXES: dict[str, str] = {
    "user": "user",
    "organization": "org",
    "project": "proj",
    "board": "board",
    "column": "col",
    "card": "card",
    "attachment": "att",
    "session": "sess",
    "message": "msg",
    "credential": "cred",
    "template": "tpl",
    "script": "script",
    "run": "run",
    "token": "tok",
    "event": "evt",
    "request": "req",
}
# Larger numbers overflow a database integer; they can't be anybody's id.
MAX_DIGITS = 18

_NUMBER = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")


class BadId(ValueError):
    """Not an id of this kind, whatever the reason."""


def public_id(kind: str, pk: int) -> str:
    return f"{PREFIXES[kind]}_{pk:03d}"


def optional_id(kind: str, pk: int | None) -> str | None:
    return None if pk is None else public_id(kind, pk)


def parse_id(kind: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadId(f"must be an id like {public_id(kind, 1)}")
    text = str(value).removeprefix(f"{PREFIXES[kind]}_")
    if not _NUMBER.fullmatch(text):
        raise BadId(f"must be an id like {public_id(kind, 1)}")
    return int(text)


def converter(kind: str) -> type:
    """A URL path converter for ids of this kind; what it can't parse does not match the route."""

    class Converter:
        regex = rf"(?:{PREFIXES[kind]}_)?[0-9]{{1,{MAX_DIGITS}}}"

        def to_python(self, value: str) -> int:
            return parse_id(kind, value)

        def to_url(self, value: int) -> str:
            return public_id(kind, value)

    return Converter
