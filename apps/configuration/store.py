"""Server-wide settings, typed: each is declared once, with its default, and read by that declaration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import connection

from apps.configuration.models import Setting

T = TypeVar("T")


@dataclass(frozen=True)
class Declared(Generic[T]):
    name: str
    default: T

    @property
    def stored(self) -> str:
        """An expression for statements that need the setting beside something else; see `of`."""
        return f"(SELECT value FROM configuration_setting WHERE name = '{self.name}')"

    def of(self, stored: str | None) -> T:
        if stored is None:
            return self.default
        value: T = json.loads(stored)
        return value

    def get(self) -> T:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {self.stored}")
            return self.of(cursor.fetchone()[0])

    def set(self, value: T) -> None:
        Setting.objects.update_or_create(pk=self.name, defaults={"value": value})


AUTH_ENABLED = Declared("auth.enabled", default=True)
CONTEXT_RELAY = Declared("context.relay", default="manual")
