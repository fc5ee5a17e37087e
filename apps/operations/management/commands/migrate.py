"""Django's `migrate`, one at a time for each PostgreSQL database."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from apps.operations.serving.database import alone


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with alone():
            super().handle(*args, **options)
