"""Server-wide settings, typed: each is declared once, with its default, and read by that declaration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from apps.configuration.models import Setting

T = TypeVar("T")


@dataclass(frozen=True)
class Declared(Generic[T]):
    name: str
    default: T

    def get(self) -> T:
        row = Setting.objects.filter(pk=self.name).first()
        return self.default if row is None else row.value

    def set(self, value: T) -> None:
        Setting.objects.update_or_create(pk=self.name, defaults={"value": value})


AUTH_ENABLED = Declared("auth.enabled", default=True)
