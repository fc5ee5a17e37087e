from __future__ import annotations

from django.db import models


class Setting(models.Model):
    """One server-wide setting; read and written through `configuration.store`."""

    name = models.CharField(max_length=60, primary_key=True)
    value = models.JSONField()

    def __str__(self) -> str:
        return self.name
