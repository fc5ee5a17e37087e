"""Which projects work with a credential.

Registered by the apps above. Lock order: the credential, the organizations that lend it, then the streams of
all these projects in one pass, ids ascending; a second pass would meet whoever waits in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from apps.events import bus

Finder = Callable[[int], Iterable[int]]

_finders: list[Finder] = []


def finder(find: Finder) -> Finder:
    """Register who knows projects (by id) in which an agent may work with the credential of that id.

    What decides it beside the projects themselves is locked by it.
    """
    _finders.append(find)
    return find


def lock_projects(credential_id: int) -> None:
    """Of a credential that is held: no session begins with it until the transaction ends."""
    for project_id in sorted({pk for find in _finders for pk in find(credential_id)}):
        bus.lock(project_id)
