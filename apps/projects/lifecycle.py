"""What apps above do when a project comes, changes and goes, registered by them.

Called inside the transaction that makes, changes or deletes it, so what a listener raises undoes it all.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.projects.models import Project

Listener = Callable[[Project], None]
ChangeListener = Callable[[Project, frozenset[str], str | None], None]
DeleteListener = Callable[[Project], list[str]]

_on_create: list[Listener] = []
_on_change: list[ChangeListener] = []
_on_delete: list[DeleteListener] = []


def on_create(listener: Listener) -> Listener:
    """Call the listener once the project and its event stream are there."""
    _on_create.append(listener)
    return listener


def on_change(listener: ChangeListener) -> ChangeListener:
    """Call the listener with the changed project, the names of its changed columns, and the run whose start
    brought the change (its wire id) if one did; stream locked.
    """
    _on_change.append(listener)
    return listener


def on_delete(listener: DeleteListener) -> DeleteListener:
    """Call the listener while everything is still there, with the stream locked.

    It returns the names of patches that hold work which was nowhere else.
    """
    _on_delete.append(listener)
    return listener


def created(project: Project) -> None:
    for listener in _on_create:
        listener(project)


def changed(project: Project, names: frozenset[str], run: str | None) -> None:
    for listener in _on_change:
        listener(project, names, run)


def deleting(project: Project) -> list[str]:
    return [name for listener in _on_delete for name in listener(project)]
