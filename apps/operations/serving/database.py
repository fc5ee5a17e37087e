"""Brings the database up to the code's migrations, with a copy of a SQLite file first."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import iter_modules

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.utils import Error as DriverError

from apps.operations.preflight import StartProblem

SNAPSHOTS_KEPT = 3
# Any number nobody else uses; one migration at a time per PostgreSQL database.
_ADVISORY_LOCK = 0x6B616E62


def _on_disk() -> set[tuple[str, str]]:
    """All migrations by name. The files are listed, not imported: that would cost 0.1 s at each start."""
    found: set[tuple[str, str]] = set()
    for config in apps.get_app_configs():
        folder = Path(config.path) / "migrations"
        found |= {
            (config.label, module.name)
            for module in iter_modules([str(folder)])
            if module.name[0] not in "_~" and not module.ispkg
        }
    return found


def _applied() -> set[tuple[str, str]]:
    # Path.exists raises where a folder above may not be entered, before Python 3.14.
    file = settings.DATABASES["default"]["NAME"]
    if connection.vendor == "sqlite" and not os.path.exists(file):  # noqa: PTH110
        return set()
    with connection.cursor() as cursor:
        if "django_migrations" not in connection.introspection.table_names(cursor):
            return set()
        cursor.execute("SELECT app, name FROM django_migrations")
        return {(app, name) for app, name in cursor.fetchall()}


def pending() -> set[tuple[str, str]]:
    """Migrations still to be applied; StartProblem when the database is newer or out of reach."""
    try:
        applied = _applied()
    except (DatabaseError, DriverError) as error:
        raise StartProblem(f"the database can't be opened: {_first_line(error)}") from None
    on_disk = _on_disk()
    if newer := applied - on_disk:
        app, name = min(newer)
        raise StartProblem(
            f"the database is newer than this program (it has {app}.{name});"
            " run the newer version or put an older copy back, as docs/reliability.md says"
        )
    return on_disk - applied


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def snapshot() -> Path | None:
    """Copy a SQLite database that has anything in it; the newest three copies are kept."""
    name = settings.DATABASES["default"]["NAME"]
    if connection.vendor != "sqlite" or not Path(name).exists():
        return None
    folder = settings.DATA_DIR / "snapshots"
    folder.mkdir(mode=0o700, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    target: Path = folder / f"kanban-{stamp}.sqlite3"
    draft = target.with_suffix(".partial")
    _remove_drafts(folder)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{name}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
        draft.chmod(0o600)
        draft.replace(target)
    except BaseException:
        # It may be the disk that is full.
        _remove_drafts(folder)
        raise
    for old in sorted(folder.glob("kanban-*.sqlite3"))[:-SNAPSHOTS_KEPT]:
        old.unlink()
    return target


def _remove_drafts(folder: Path) -> None:
    """Copies that failed or were cut off, and SQLite's journals of them."""
    for draft in folder.glob("kanban-*.partial*"):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep other migrations of the same PostgreSQL database waiting; may be nested."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def bring_up_to_date() -> None:
    """Apply what is pending; one process at a time does."""
    with alone():
        if pending():
            _migrate()


def _migrate() -> None:
    try:
        copy = snapshot()
    except (OSError, sqlite3.Error) as error:
        raise StartProblem(
            f"the database can't be copied before it is migrated: {error}; is the disk full?"
        ) from None
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseError, DriverError) as error:
        hint = (
            f"; the copy from before is {copy}, and docs/reliability.md says how to put it back"
            if copy
            else ""
        )
        raise StartProblem(f"the database can't be migrated: {_first_line(error)}{hint}") from error


def wait_until_migrated(within: float) -> None:
    """For a process that doesn't migrate itself: return when nothing is pending any more."""
    deadline = time.monotonic() + within
    while todo := pending():
        connection.close()
        if time.monotonic() > deadline:
            raise StartProblem(
                f"{len(todo)} migrations are still to be applied; run `manage.py migrate` first"
            )
        time.sleep(1.0)
    connection.close()
