"""Keeps packages out of the process that nothing here uses."""

from __future__ import annotations

import importlib
import sys

# REST framework imports them where they are installed: for its test client, for model fields of PostgreSQL
# and for schemas of its own. They are a quarter of the time to the first answer, and 17 MB in each process.
_UNUSED = ("requests", "django.contrib.postgres", "yaml", "inflection")


def import_rest_framework() -> None:
    """Import it without what it finds by chance; to be called before anything else imports it."""
    hidden = [name for name in _UNUSED if name not in sys.modules]
    # None in the place of a module makes its import fail, as if it weren't installed.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("rest_framework.compat")
    finally:
        for name in hidden:
            del sys.modules[name]
