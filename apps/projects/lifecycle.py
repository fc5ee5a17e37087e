"""What apps above do when a project comes and goes, registered by them.

Called inside the transaction that makes or deletes it, so what a listener raises undoes it all.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.projects.models import Project

Listener = Callable[[Project], None]

_on_create: list[Listener] = []
_on_delete: list[Listener] = []


def on_create(listener: Listener) -> Listener:
    """Call the listener once the project and its event stream are there."""
    _on_create.append(listener)
    return listener


def on_delete(listener: Listener) -> Listener:
    """Call the listener while everything is still there, with the stream locked."""
    _on_delete.append(listener)
    return listener


def created(project: Project) -> None:
    for listener in _on_create:
        listener(project)


def deleting(project: Project) -> None:
    for listener in _on_delete:
        listener(project)
