"""What events keep from programs: no token reaches members, so none is told their email addresses either."""

from __future__ import annotations

import json

from apps.common.envelope import dumps

_OF_PEOPLE = "member."
_FRAME_OF_PEOPLE = f'{{"type":"{_OF_PEOPLE}'


def data_for_programs(kind: str, data: str) -> str:
    """An event's stored data; the address is null in it."""
    if not kind.startswith(_OF_PEOPLE):
        return data
    return dumps({**json.loads(data), "email": None}).decode()


def frame_for_programs(text: str) -> str:
    """The same for what a socket is sent, whatever it is."""
    if not text.startswith(_FRAME_OF_PEOPLE):
        return text
    told = json.loads(text)
    return dumps({**told, "data": {**told["data"], "email": None}}).decode()
