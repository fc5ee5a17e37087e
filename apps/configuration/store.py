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

    def get(self) -> T:
        # Written out: with SQLite's version one of them is read by every request that follows a change.
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM configuration_setting WHERE name = %s", [self.name])
            row = cursor.fetchone()
        if row is None:
            return self.default
        value: T = json.loads(row[0])
        return value

    def set(self, value: T) -> None:
        Setting.objects.update_or_create(pk=self.name, defaults={"value": value})


AUTH_ENABLED = Declared("auth.enabled", default=True)
