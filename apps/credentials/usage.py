"""What was done with a credential, by our own count and not by the provider's bill.

Those who use keys stand above this app and register what they know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Usage:
    """`cost_usd` is None where no agent has told a price."""

    sessions: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    last_used_at: datetime | None = None


Count = Callable[[int], Usage]
_counts: list[Count] = []


def register(count: Count) -> None:
    """`count(credential id)`, in one query."""
    _counts.append(count)


def of(credential_id: int) -> Usage:
    found = [count(credential_id) for count in _counts]
    costs = [each.cost_usd for each in found if each.cost_usd is not None]
    times = [each.last_used_at for each in found if each.last_used_at is not None]
    return Usage(
        sessions=sum(each.sessions for each in found),
        input_tokens=sum(each.input_tokens for each in found),
        output_tokens=sum(each.output_tokens for each in found),
        cost_usd=sum(costs) if costs else None,
        last_used_at=max(times, default=None),
    )
