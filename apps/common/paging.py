from __future__ import annotations

import re
from collections.abc import Mapping

from apps.common.errors import Invalid

_WHOLE = re.compile(r"[+-]?[0-9]+")


def limit_of(given: Mapping[str, str], *, default: int, most: int) -> int:
    """The `limit` of a list's query, brought within 1 and `most`; Invalid when it is no number (C22)."""
    text = given.get("limit", "").strip()
    if not text:
        return default
    if not _WHOLE.fullmatch(text):
        raise Invalid("limit must be a whole number")
    if len(text) > 18:
        return 1 if text.startswith("-") else most
    return min(max(int(text), 1), most)
