"""Django's `migrate`, one at a time for each PostgreSQL database."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.commands import migrate

from apps.host.privacy import keep_private
from apps.operations.serving.database import alone


class Command(migrate.Command):
    def run_from_argv(self, argv: list[str]) -> None:
        keep_private(settings.DATA_DIR)
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        with alone():
            super().handle(*args, **options)
