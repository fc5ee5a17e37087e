"""Takes the values of known secrets out of what a run says before it is stored or shown."""

from __future__ import annotations

from collections.abc import Iterable

MASK = "****"
# Shorter values would mask ordinary words.
SHORTEST = 8


class Secrets:
    def __init__(self, values: Iterable[str]) -> None:
        self.values = sorted({v for v in values if v and len(v) >= SHORTEST}, key=len, reverse=True)

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
        most = 0
        for value in self.values:
            # Nearly always there is none of its first letters, or one that something else follows.
            start = text.find(value[0], max(0, len(text) - len(value) + 1))
            while start >= 0 and not value.startswith(text[start:]):
                start = text.find(value[0], start + 1)
            if start >= 0:
                most = max(most, len(text) - start)
        return most
