"""Names that a client wrote and nobody knows, next to one that it probably meant.

Unknown fields of a body are ignored (C17), unless a required one is missing: then that is likely why. In a
query a name that all but matches is refused, for the filter it was to be would silently not filter; what
resembles none, such as a cache-buster, is nobody's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from rest_framework.request import Request

from apps.common.errors import Invalid

ALIKE = 0.8
MOST_COMPARED = 50
LONGEST = 60


def meant(name: str, among: Iterable[str]) -> str | None:
    """The one of these that looks most like the name, spelling of words together aside; None if none does."""
    if len(name) > LONGEST:
        return None
    rated = [(SequenceMatcher(None, _plain(name), _plain(each)).ratio(), each) for each in among]
    ratio, best = max(rated, default=(0.0, ""))
    return best if ratio >= ALIKE else None


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def query(request: Request, *known: str) -> Mapping[str, str]:
    """The request's parameters; raises Invalid for one that is nearly, but not quite, one of these."""
    given: Mapping[str, str] = request.query_params
    for name in given:
        if name not in known and (better := meant(name, known)):
            raise Invalid(f"There is no parameter “{name}” here; did you mean {better}?")
    return given
