"""Numbers in the list of projects that belong to apps above: each registers one, counted for all at once.

Counting reads all the cards of a project, so a process keeps what it has counted by the project's version,
which changes with everything that is counted; only the projects that have changed are counted again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from apps.projects.memberships import Membership

Count = Callable[[int, list[int]], Mapping[int, int]]
Numbers = dict[str, int]

MOST_KEPT = 20_000

_counts: dict[str, Count] = {}
_kept: OrderedDict[tuple[int, int], tuple[str, Numbers]] = OrderedDict()
_lock = Lock()


def register(key: str, count: Count) -> None:
    """`key` on the wire; `count(user id, project ids)` in one query, projects without any left out.

    It must not change without the project's version or the person's own.
    """
    _counts[key] = count


def count_all(user_id: int, found: Sequence[Membership]) -> dict[int, Numbers]:
    """By project. Nothing kept is older than the version that it is kept under: that was read before."""
    versions = {each.project.pk: f"{each.at}:{each.read_version}" for each in found}
    numbers: dict[int, Numbers] = {}
    with _lock:
        for pk, version in versions.items():
            kept = _kept.get((user_id, pk))
            if kept is not None and kept[0] == version:
                _kept.move_to_end((user_id, pk))
                numbers[pk] = kept[1]
    stale = [pk for pk in versions if pk not in numbers]
    if not stale:
        return numbers
    counted = {key: count(user_id, stale) for key, count in _counts.items()}
    fresh = {pk: {key: each.get(pk, 0) for key, each in counted.items()} for pk in stale}
    with _lock:
        for pk, each in fresh.items():
            _kept[user_id, pk] = (versions[pk], each)
            _kept.move_to_end((user_id, pk))
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return numbers | fresh


def forget_all() -> None:
    """For tests, which begin again with the same ids."""
    with _lock:
        _kept.clear()
