"""A new database is made by the migrations that replace others; both ways must lead to the same place."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.process.server import ROOT

STEP_BY_STEP = """
import sys
import django
django.setup()
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader
whole = MigrationLoader.load_disk
def load_disk(self):
    whole(self)
    found = self.disk_migrations.items()
    self.disk_migrations = {key: migration for key, migration in found if not migration.replaces}
MigrationLoader.load_disk = load_disk
call_command("migrate", *sys.argv[1:], verbosity=0)
"""


def run(data: Path, *arguments: str) -> None:
    data.mkdir(mode=0o700, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(data),
        "KANBAN_DATA_DIR": str(data),
        "DJANGO_SETTINGS_MODULE": "kanban_agents.settings",
    }
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True)


def step_by_step(data: Path, *target: str) -> None:
    run(data, "-c", STEP_BY_STEP, *target)


def migrate(data: Path) -> None:
    run(data, "manage.py", "migrate", "-v0")


def schema(data: Path) -> dict[str, object]:
    """By table: its columns, keys and indexes, whatever order they were made in."""
    database = sqlite3.connect(data / "kanban.sqlite3")
    found: dict[str, object] = {}
    made = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
    for kind, name, table, sql in made.fetchall():
        if kind != "table":
            found[f"{kind} {name}"] = (table, sql)
            continue
        columns = database.execute(f'SELECT * FROM pragma_table_info("{name}")').fetchall()
        keys = database.execute(f'SELECT * FROM pragma_foreign_key_list("{name}")').fetchall()
        checks = re.findall(r'CONSTRAINT "?\w+"? (?:CHECK|UNIQUE) \(.*?\)', sql)
        found[f"table {name}"] = (
            sorted(column[1:] for column in columns),
            sorted(key[2:] for key in keys),
            sorted(checks),
        )
    database.close()
    return found


def test_a_new_database_is_what_the_steps_of_before_would_have_made(tmp_path: Path) -> None:
    migrate(tmp_path / "new")
    step_by_step(tmp_path / "old")
    new, old = schema(tmp_path / "new"), schema(tmp_path / "old")
    assert len(new) > 100
    assert new == old


def test_a_database_that_stopped_in_the_middle_of_the_steps_goes_on_with_them(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    step_by_step(data, "cards", "0005")
    step_by_step(data, "agents", "0005")
    migrate(data)
    migrate(tmp_path / "new")
    assert schema(data) == schema(tmp_path / "new")
