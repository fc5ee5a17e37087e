"""Which directory may become a project (J1, J2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection

from apps.accounts.models import User
from apps.common.errors import Forbidden, Invalid
from apps.host import git, paths
from apps.host.errors import HostError
from apps.projects.memberships import Role, directories
from apps.projects.models import Project

_PATHS = 0x70617468  # "path"


@dataclass(frozen=True)
class Place:
    path: Path
    is_git: bool


def inspect(raw: str, user: User) -> Place:
    """The real directory; raises Invalid or Forbidden with a sentence of its own for each thing wrong.

    Asks the disk and git, so never inside a transaction.
    """
    try:
        path = paths.project_path(raw, settings.FS_ROOTS, data_dir=Path(settings.DATA_DIR))
        info = git.inspect(path)
    except HostError as error:
        raise Invalid(f"path: {error.message}", code=error.code) from None
    if info.bare or (info.is_git and info.toplevel is None):
        raise Invalid(
            f"path: {raw} is a bare repository or the git data of one. Use a clone with a working tree.",
            code="path_bare",
        )
    _refuse_if_taken(path, user)
    return Place(path, info.is_git)


def directory(project: Project) -> Path:
    """Where the project lies, to read or work there. PathRefused where a link has taken its place by now."""
    return paths.unmoved(Path(project.path))


def hold(place: Place, user: User) -> None:
    """Nobody else makes a project until the transaction ends, and whoever was faster keeps the place.

    What `inspect` saw may be history by now. Comes before all other locks; on SQLite the transaction itself
    is that lock (IMMEDIATE).
    """
    if not connection.in_atomic_block:
        raise RuntimeError("places.hold needs a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PATHS])
    _refuse_if_taken(place.path, user)


def _refuse_if_taken(path: Path, user: User) -> None:
    """Whoever could put a project around, into or on top of another's would have the run of its files."""
    if user.is_super_admin:
        return
    others = [other for other, role in directories(user) if role is not Role.ADMIN]
    if any(paths.relation(path, Path(other)) for other in others):
        raise Forbidden(
            "A project of somebody else's lies here, above or below. Ask its admin to add you to it.",
            code="path_taken",
        )
