"""Which part of the server's disk a person may look at (FS1)."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from apps.accounts.models import User
from apps.common.errors import Forbidden
from apps.host import paths
from apps.host.errors import PathRefused
from apps.projects.memberships import directories


class View:
    """What one person may see: below the roots and in their projects, less what is others' or the server's.

    Of projects that lie in each other the innermost decides. One query, for any number of paths.
    """

    def __init__(self, user: User) -> None:
        known = directories(user)
        reached = [Path(path) for path, role in known if role is not None]
        others = [path for path, role in known if role is None]
        # Stored as they really are. Where one became a link, what that leads to isn't the project's: its
        # people see it no more, and others as little as before, should only the link be new.
        self._projects = [each for each in reached if os.path.realpath(each) == str(each)]
        self._moved = set(reached) - set(self._projects)
        hidden = {Path(place) for each in others for place in (each, os.path.realpath(each))}
        self._others = hidden - set(self._projects)
        self._decided = self._others.union(self._projects)
        self.roots = [Path(os.path.realpath(each)) for each in settings.FS_ROOTS]
        if user.is_super_admin:
            self.roots.append(Path(os.path.realpath(Path.home())))
        self._open = {*self.roots, *self._projects}
        self._private = paths.Private(data_dir=Path(settings.DATA_DIR))

    def first(self) -> Path:
        places = [*self.roots, *self._projects]
        if not places:
            for each in self._moved:
                self.refuse_moved(str(each))
            raise Forbidden(
                "There is no directory that you may browse. An administrator sets KANBAN_FS_ROOTS, or adds"
                " you to a project.",
                code="path_outside",
            )
        return places[0]

    def refuse_moved(self, path: str) -> None:
        """With a sentence of its own, for what lies in a project of theirs that became a link."""
        for each in self._moved:
            if Path(path).is_relative_to(each):
                try:
                    paths.unmoved(each)
                except PathRefused as problem:
                    raise Forbidden(problem.message, code=problem.code) from None

    def allows(self, real: Path) -> bool:
        """Asked of each entry of a directory: its cost doesn't grow with the number of projects."""
        way = (real, *real.parents)
        if self._open.isdisjoint(way) or self._private.holds(real):
            return False
        nearest = next((place for place in way if place in self._decided), None)
        return nearest not in self._others
