from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.projects.models import Project
from apps.runs.models import LIVE, Run


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


class ScriptRun(Run):
    """One run of a script, with the command as it stood then.

    It outlives its script while a worker still ends what the run started. `exit_code` is the shell's: 128 and
    the signal's number for a command that was killed.
    """

    script = models.ForeignKey(Script, on_delete=models.SET_NULL, null=True, related_name="runs")
    command = models.TextField()
    exit_code = models.IntegerField(null=True)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["state"], condition=Q(state__in=[str(s) for s in LIVE]), name="run_live"
            ),
            models.Index(
                fields=["worker_id"], condition=Q(worker_id__isnull=False), name="run_owner"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["script"],
                condition=Q(state__in=[str(s) for s in LIVE]),
                name="one_live_run_per_script",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of script {self.script_id}"


class ScriptOutput(models.Model):
    """A piece of what a run has printed; only the last 64 KB of them are kept.

    `truncated`: something between the piece before and this one was left out, since it came too fast.
    (fence, ordinal) names the piece within the worker's own stream: after a commit whose answer was lost, the
    sink sees by it what is stored already.
    """

    # Two constraints below begin with it.
    run = models.ForeignKey(
        ScriptRun, on_delete=models.CASCADE, related_name="output", db_index=False
    )
    index = models.PositiveBigIntegerField()
    rev = models.PositiveBigIntegerField()
    content = models.TextField()
    truncated = models.BooleanField(default=False)
    fence = models.PositiveIntegerField()
    ordinal = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "index"], name="one_output_per_index"),
            models.UniqueConstraint(fields=["run", "fence", "ordinal"], name="one_output_per_line"),
        ]

    def __str__(self) -> str:
        return f"output {self.index} of run {self.run_id}"
