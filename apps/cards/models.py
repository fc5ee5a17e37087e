from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.boards.models import Column
from apps.credentials.models import Credential
from apps.projects.models import PermissionMode, Project

if TYPE_CHECKING:
    from apps.cards.rows import CardDetailRow


class Card(models.Model):
    """A piece of work. What `agents` and the worktree know of it that a list shows is kept here too
    (`agent_status`, `branch`), written in the same transaction, so that a list is one query.

    `noted_seq` is the event that last made it worth reading (an agent finished, somebody changed it).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="cards")
    # `card_order` begins with it.
    column = models.ForeignKey(
        Column, on_delete=models.CASCADE, related_name="cards", db_index=False
    )
    position = models.PositiveIntegerField()
    title = models.CharField(max_length=500)
    prompt = models.TextField(default="")
    labels = models.JSONField(default=list)
    auto_mode = models.BooleanField(default=False)
    pending_approval = models.BooleanField(default=False)
    permission_mode = models.CharField(max_length=12, choices=PermissionMode.choices, null=True)
    credential = models.ForeignKey(
        Credential, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    # Asked for with the move (`defer: true`); `activate` clears it.
    defer = models.BooleanField(default=False)
    deferred_code = models.CharField(max_length=40, null=True)
    deferred_message = models.TextField(null=True)
    agent_status = models.CharField(max_length=12, null=True)
    branch = models.CharField(max_length=300, null=True)
    external_id = models.CharField(max_length=200, null=True)
    noted_seq = models.PositiveBigIntegerField(default=0)
    noted_by = models.PositiveBigIntegerField(null=True)
    completed_at = models.DateTimeField(null=True)
    # What the card waits for a person with, and since when; see `cards.attention`.
    attention = models.CharField(max_length=10, null=True)
    attention_since = models.DateTimeField(null=True)
    # Only the removal of a person looks for it, and every card would pay for an index.
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    # As the one who has just changed it sees it; None where that has to be read.
    shown: CardDetailRow | None = None

    class Meta:
        indexes = [
            models.Index(fields=["column", "position"], name="card_order"),
            models.Index(
                fields=["credential"],
                condition=Q(credential__isnull=False),
                name="card_credential",
            ),
            models.Index(
                fields=["project"],
                condition=Q(attention__isnull=False),
                name="card_attention",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "external_id"],
                condition=Q(external_id__isnull=False),
                name="one_card_per_external_id",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Dependency(models.Model):
    """`card` waits until `blocker` is complete."""

    card = models.ForeignKey(Card, on_delete=models.CASCADE, related_name="blockers")
    blocker = models.ForeignKey(Card, on_delete=models.CASCADE, related_name="blocking")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["card", "blocker"], name="one_dependency"),
        ]

    def __str__(self) -> str:
        return f"{self.card_id} after {self.blocker_id}"


class PipelineStep(models.Model):
    """A column on a card's own way over its board. A card without any goes through all of them.

    `prompt` is this card's instruction there; null is the column's own.
    """

    card = models.ForeignKey(
        Card, on_delete=models.CASCADE, related_name="pipeline", db_index=False
    )
    column = models.ForeignKey(Column, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveIntegerField()
    prompt = models.TextField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["card", "column"], name="one_step_per_column"),
        ]

    def __str__(self) -> str:
        return f"step {self.position} of card {self.card_id}"


class CardRead(models.Model):
    """How far a person has read a card: the project's seq at that moment."""

    card = models.ForeignKey(Card, on_delete=models.CASCADE, related_name="reads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    seq = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["card", "user"], name="one_read_per_card")]

    def __str__(self) -> str:
        return f"{self.user_id} read {self.card_id} to {self.seq}"


class PanelState(models.Model):
    """How a person has laid out a card's panels: JSON text, which only the page reads."""

    card = models.ForeignKey(Card, on_delete=models.CASCADE, related_name="panel_states")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    state = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["card", "user"], name="one_panel_state_per_card"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} at {self.card_id}"


class Attachment(models.Model):
    """A file on a card. The row is there before the file, and until the file is gone.

    Once its card is deleted it belongs to none, and the worker's loop removes file and row. `folder` is the
    file's directory below the attachments of the host's data directory.
    """

    class State(models.TextChoices):
        # Found so an hour later, whoever received it has died.
        RECEIVING = "receiving"
        READY = "ready"
        # An imported project knows of it, but has no file.
        ABSENT = "absent"

    card = models.ForeignKey(Card, on_delete=models.SET_NULL, null=True, related_name="attachments")
    filename = models.CharField(max_length=255, default="")
    content_type = models.CharField(max_length=100, default="")
    size = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVING)
    host_id = models.CharField(max_length=40)
    folder = models.CharField(max_length=100)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=Q(state="receiving"),
                name="attachment_receiving",
            ),
        ]

    def __str__(self) -> str:
        return self.filename


class Worktree(models.Model):
    """A directory on a host's disk, recorded before it is made and until it is gone.

    `card_id` is a plain number: the row outlives the card, because the removal of the directory does.
    """

    class State(models.TextChoices):
        CREATING = "creating"
        READY = "ready"
        REMOVING = "removing"

    card_id = models.PositiveBigIntegerField(unique=True)
    project_id = models.PositiveBigIntegerField()
    host_id = models.CharField(max_length=40)
    # Whether that host was while the card waited for it; it lasts until the worktree is used again.
    given_up = models.BooleanField(default=False)
    repository = models.TextField()
    path = models.TextField()
    branch = models.CharField(max_length=300, null=True)
    owns_branch = models.BooleanField(default=False)
    base_ref = models.CharField(max_length=300, null=True)
    base_commit = models.CharField(max_length=64, null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CREATING)
    forced = models.BooleanField(default=False)
    # When its card was deleted; by it the patch is named that holds what the directory alone had.
    removing_since = models.DateTimeField(null=True)
    # Wire id of the run that used it last, so that a card's processes can be swept before it is removed.
    session_wire_id = models.CharField(max_length=40, null=True)
    setup_done_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.path
