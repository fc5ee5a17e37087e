"""Agents as data: each preset says which program speaks the Agent Client Protocol and what it needs.

Operators add their own in `<data>/presets.toml`, one table each:

    [fake]
    name = "Our agent"
    command = ["/usr/local/bin/our-agent", "--acp"]
    needs_credential = false
    silence_seconds = 600
    [fake.environment]
    OUR_AGENT_MODE = "board"
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.credentials.unshown import passwords_in
from apps.host.processes import python_argv

# Variables that hold a secret, by their names; not those that say where one lies, or how many.
_SECRET = re.compile(
    r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?![A-Z])(?!.*_(FILE|PATH|DIR)$)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Preset:
    """`modes` maps our permission modes to the agent's own; `model_variable` is how it is told its model.

    `plan_options`: which of the options that an agent offers with its plan lead to which mode; an option that
    isn't named there leads to `unattended`.
    """

    id: str
    name: str
    command: tuple[str, ...]
    providers: tuple[str, ...] = ()
    needs_credential: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    plan_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model_variable: str | None = None
    start_seconds: float = 60.0
    silence_seconds: float = 600.0
    tool_seconds: float = 3600.0

    def missing_program(self) -> str | None:
        """The program that isn't there, or None."""
        program = self.command[0]
        return None if shutil.which(program) else program

    def secrets(self) -> Iterator[str]:
        """What its agent gets in its environment and must not show."""
        for name, value in self.environment.items():
            if _SECRET.search(name):
                yield value
            yield from passwords_in(value)


class PresetProblem(Exception):
    """`presets.toml` can't be used; the text names the table and what is wrong."""


BUILTIN = Preset(
    id="builtin",
    name="Built-in agent",
    command=tuple(python_argv("apps.agents.builtin")),
    providers=("anthropic", "openai", "openai-compatible", "openrouter"),
    modes={"unattended": "unattended", "ask": "ask", "plan": "plan"},
    plan_options={"unattended": ("exit-plan-unattended",), "ask": ("exit-plan-ask",)},
    model_variable="BUILTIN_MODEL",
)

_OURS = {BUILTIN.id: BUILTIN}
_SECONDS = ("start_seconds", "silence_seconds", "tool_seconds")


def all_presets() -> dict[str, Preset]:
    """Ours and the operator's; read again when the file changes. Raises PresetProblem."""
    path: Path = settings.DATA_DIR / "presets.toml"
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return dict(_OURS)
    except OSError as error:
        raise PresetProblem(f"{path}: {error}") from None
    return {**_OURS, **_read(path, stamp)}


def preset(preset_id: str) -> Preset | None:
    return all_presets().get(preset_id)


def default_for(provider: str) -> Preset | None:
    """The preset that a credential of this provider picks."""
    return next((each for each in all_presets().values() if provider in each.providers), None)


@lru_cache(maxsize=4)
def _read(path: Path, _stamp: int) -> dict[str, Preset]:
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PresetProblem(f"{path}: {error}") from None
    return {name: _preset(path, name, table) for name, table in tables.items()}


def _preset(path: Path, name: str, table: Any) -> Preset:
    def wrong(text: str) -> PresetProblem:
        return PresetProblem(f"{path}: [{name}] {text}")

    if not isinstance(table, dict):
        raise wrong("must be a table")
    command = table.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(c, str) for c in command):
        raise wrong("command must be a list of texts, the program first")
    known = {
        "name",
        "command",
        "needs_credential",
        "providers",
        "environment",
        "modes",
        "plan_options",
        "model_variable",
    }
    unknown = set(table) - known - set(_SECONDS)
    if unknown:
        raise wrong(f"has unknown keys: {', '.join(sorted(unknown))}")
    providers = table.get("providers", [])
    if not isinstance(providers, list) or not all(isinstance(each, str) for each in providers):
        raise wrong("providers must be a list of texts")
    for key in ("environment", "modes", "plan_options"):
        if not isinstance(table.get(key, {}), dict):
            raise wrong(f"{key} must be a table")
    plan_options = table.get("plan_options", {})
    if not all(isinstance(ids, list) for ids in plan_options.values()):
        raise wrong("plan_options must name a list of option ids for each mode")
    if not isinstance(table.get("model_variable", ""), str):
        raise wrong("model_variable must be a text")
    seconds = {key: table[key] for key in _SECONDS if key in table}
    for key, value in seconds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise wrong(f"{key} must be a positive number")
    return Preset(
        id=name,
        name=str(table.get("name", name)),
        command=tuple(command),
        providers=tuple(providers),
        needs_credential=bool(table.get("needs_credential", True)),
        environment={str(k): str(v) for k, v in table.get("environment", {}).items()},
        modes={str(k): str(v) for k, v in table.get("modes", {}).items()},
        plan_options={str(mode): tuple(map(str, ids)) for mode, ids in plan_options.items()},
        model_variable=table.get("model_variable"),
        **seconds,
    )
