"""Which projects work with a credential, and who acts when it begins or ceases to be of use.

Registered by the apps above. Lock order: the credential, the organizations that lend it, then the streams of
all these projects in one pass, ids ascending; a second pass would meet whoever waits in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from apps.events import bus

Finder = Callable[[int], Iterable[int]]
Listener = Callable[[list[int]], None]

_finders: list[Finder] = []
_on_change: list[Listener] = []


def finder(find: Finder) -> Finder:
    """Register who knows projects (by id) in which an agent may work with the credential of that id.

    What decides it beside the projects themselves is locked by it.
    """
    _finders.append(find)
    return find


def on_change(listener: Listener) -> Listener:
    """Call the listener with the ids of projects, streams locked, whose cards may have another key now."""
    _on_change.append(listener)
    return listener


def lock_projects(credential_id: int) -> list[int]:
    """Of a credential that is held: no session begins with it until the transaction ends."""
    ids = sorted({project_id for find in _finders for project_id in find(credential_id)})
    for project_id in ids:
        bus.lock(project_id)
    return ids


def changed(project_ids: list[int]) -> None:
    for listener in _on_change:
        listener(project_ids)
