"""The rows of the built-in templates; apart from what is served, since only a migration writes them."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps

from apps.boards.templates import BUILT_IN


def write_built_in(*, using: str, apps: Apps = installed, **_: Any) -> None:
    """After a migration, or a `flush`, which names no apps. Repeatable; does nothing while the table is not
    there yet."""
    try:
        templates = apps.get_model("boards", "BoardTemplate")._default_manager.using(using)
    except LookupError:
        return
    for key, (name, columns) in BUILT_IN.items():
        templates.update_or_create(key=key, defaults={"name": name, "columns": columns})
