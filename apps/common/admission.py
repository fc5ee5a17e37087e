"""How much may go on at once."""

from __future__ import annotations

from collections import Counter


class Admission:
    """So many in all, and so many of the same caller. One is taken before it is known for whom."""

    def __init__(self, limit: int, per_caller: int | None) -> None:
        self.limit = limit
        self.per_caller = per_caller
        self._taken = 0
        self._callers: Counter[bytes] = Counter()

    def take(self) -> bool:
        if self._taken >= self.limit:
            return False
        self._taken += 1
        return True

    def keep_for(self, caller: bytes) -> bool:
        """False when they have their share, and the place is given back."""
        if self.per_caller and self._callers[caller] >= self.per_caller:
            self.give_back()
            return False
        self._callers[caller] += 1
        return True

    def give_back(self, caller: bytes | None = None) -> None:
        self._taken -= 1
        if caller is not None:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
