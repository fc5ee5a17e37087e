from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models


class Worker(models.Model):
    """A worker process and its lease.

    `beat` only rises; an observer that sees the same processes (`pid_namespace`) calls the worker dead when
    it has stood still for 15 s of the observer's own monotonic clock. `beat_at` is for people, by the
    database's clock: those of hosts are never compared.
    """

    id = models.CharField(max_length=40, primary_key=True)
    host_id = models.CharField(max_length=40)
    pid = models.PositiveIntegerField()
    pid_namespace = models.PositiveBigIntegerField(null=True)
    beat = models.PositiveBigIntegerField(default=0)
    beat_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.id


class State(models.TextChoices):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (State.QUEUED, State.STARTING, State.RUNNING, State.WAITING, State.INTERRUPTED)
FINAL = (State.COMPLETED, State.FAILED, State.CANCELLED)
# Whoever works holds a slot; one that waits for a person holds none.
HOLDING = (State.STARTING, State.RUNNING, State.INTERRUPTED)


class Run(models.Model):
    """Something that runs in a worker: the row is the queue, the claim and the result.

    `worker_id` and `fence` say who may write: every write of a worker names its fence, and taking a run
    over raises it, so a stale owner writes nothing. `worker_id` is cleared only after the run's
    processes have been swept. `next_index` and `next_rev` are the only source of a message's numbers.
    """

    project_id = models.PositiveBigIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    worker_id = models.CharField(max_length=40, null=True)
    host_id = models.CharField(max_length=40, null=True)
    fence = models.PositiveIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    # 0 stands before 1: an answer to a parked run goes on before what is new. Among equals the lower number
    # is first; it comes from the queue itself, since a clock may be set back.
    queue_rank = models.PositiveSmallIntegerField(default=1)
    queue_number = models.PositiveBigIntegerField(default=0)
    queue_reason = models.CharField(max_length=30, null=True)
    not_before = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, null=True)
    error_message = models.TextField(null=True)
    next_index = models.PositiveBigIntegerField(default=0)
    next_rev = models.PositiveBigIntegerField(default=1)

    class Meta:
        abstract = True

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """As usual, but for the counters: only UPDATE … RETURNING may raise them, never a stale copy."""
        if update_fields is None and not self._state.adding:
            update_fields = [
                field.name
                for field in self._meta.concrete_fields
                if not field.primary_key and field.name not in ("next_index", "next_rev")
            ]
        super().save(*args, update_fields=update_fields, **kwargs)
