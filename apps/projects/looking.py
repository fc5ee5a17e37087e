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
        self.roots = [Path(os.path.realpath(each)) for each in settings.FS_ROOTS]
        if user.is_super_admin:
            self.roots.append(Path(os.path.realpath(Path.home())))

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
        inside = [place for place in (*self.roots, *self._projects) if real.is_relative_to(place)]
        if not inside or paths.excluded(real, data_dir=Path(settings.DATA_DIR)):
            return False
        foreign = _deepest(self._others, real)
        return foreign < 0 or _deepest(self._projects, real) >= foreign


def _deepest(places: list[Path] | set[Path], real: Path) -> int:
    return max((len(place.parts) for place in places if real.is_relative_to(place)), default=-1)
