from __future__ import annotations

from django.db import models

from apps.projects.models import Project


class Script(models.Model):
    """A shell command that people of a project run with a click; positions are 0-based and gapless."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="scripts", db_index=False
    )
    name = models.CharField(max_length=200)
    command = models.TextField()
    position = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["project", "position"], name="script_order")]

    def __str__(self) -> str:
        return self.name
