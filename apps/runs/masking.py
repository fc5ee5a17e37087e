"""Takes the values of known secrets out of what a run says before it is stored or shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

MASK = "****"
# Shorter values would mask ordinary words.
SHORTEST = 8


class Secrets:
    def __init__(self, values: Iterable[str]) -> None:
        known = {value for value in values if len(value) >= SHORTEST}
        # What tools answer is masked as JSON, where some of the characters look different.
        known |= {orjson.dumps(value)[1:-1].decode() for value in known}
        self.values = sorted(known, key=len, reverse=True)
        self._characters = frozenset("".join(known))
        pairs = "|".join(re.escape(value[:2]) for value in known)
        letters = "|".join(re.escape(value[0]) for value in known)
        self._beginning = re.compile(rf"{pairs}|(?:{letters})\Z")

    def mask(self, text: str) -> str:
        for value in self.values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def mask_end(self, tail: str) -> str:
        """What was held back, when nothing follows: masked once it gives away half of a secret, or as much
        as is worth masking of a long one. Shorter ones may well be ordinary words."""
        for value in self.values:
            if value.startswith(tail) and len(tail) >= min(SHORTEST, len(value) / 2):
                return MASK
        return tail

    def held_back(self, text: str) -> int:
        """How many characters at the end of a stream may be the beginning of a secret."""
        # A dozen of values, most of which no line ends with: their characters, then how they begin.
        if not text or text[-1] not in self._characters:
            return 0
        start = max(0, len(text) - len(self.values[0]) + 1)
        while begun := self._beginning.search(text, start):
            end = text[begun.start() :]
            if any(value.startswith(end) for value in self.values):
                return len(end)
            start = begun.start() + 1
        return 0
