from __future__ import annotations

import secrets

from django.db import models


def new_epoch() -> str:
    return secrets.token_hex(8)


class EventStream(models.Model):
    """One per project; outlives it, so that `project.deleted` can still be read.

    `version` is the seq of the last event. `epoch` is renewed when history may have been lost
    (restore, failover): a seq means something only together with it.
    """

    project_id = models.PositiveBigIntegerField(primary_key=True)
    epoch = models.CharField(max_length=16, default=new_epoch)
    version = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"project {self.project_id} at {self.epoch}:{self.version}"


class StoredEvent(models.Model):
    """What happened, in order; `seq` is gapless within a stream. `data` is JSON text as it was sent."""

    # `one_event_per_seq` begins with it.
    stream = models.ForeignKey(
        EventStream, on_delete=models.CASCADE, related_name="events", db_index=False
    )
    seq = models.PositiveBigIntegerField()
    actor_id = models.PositiveBigIntegerField(null=True)
    type = models.CharField(max_length=60)
    data = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "seq"], name="one_event_per_seq"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}:{self.seq} {self.type}"
