from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.projects.models import PermissionMode, Project


class ColumnType(models.TextChoices):
    """`active` starts an agent when a card enters; `done` and `archive` complete the card."""

    BACKLOG = "backlog"
    ACTIVE = "active"
    DONE = "done"
    ARCHIVE = "archive"


class Board(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="boards")
    name = models.CharField(max_length=200)
    position = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["project", "position"], name="board_order")]

    def __str__(self) -> str:
        return self.name


class Column(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="columns")
    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="columns")
    name = models.CharField(max_length=200)
    column_type = models.CharField(max_length=10, choices=ColumnType.choices)
    position = models.PositiveIntegerField()
    prompt = models.TextField(null=True)
    wip_limit = models.PositiveIntegerField(null=True)
    permission_mode = models.CharField(max_length=12, choices=PermissionMode.choices, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["board", "position"], name="column_order")]

    def __str__(self) -> str:
        return self.name


class BoardTemplate(models.Model):
    """Columns for new boards, everybody's. One that came with the product has a `key` and stays as it is."""

    name = models.CharField(max_length=200)
    columns = models.JSONField()
    key = models.CharField(max_length=40, unique=True, null=True)
    # Only the removal of a person looks for it.
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name
