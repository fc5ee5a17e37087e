from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.credentials.models import Credential
from apps.organizations.models import Organization


class PermissionMode(models.TextChoices):
    UNATTENDED = "unattended"
    ASK = "ask"
    PLAN = "plan"


class Project(models.Model):
    """A directory that agents work on. `path` never changes; `is_git` is what it was when added.

    The settings from `agent` to `auto_commit` hold what counts. Where it comes from: `own_settings` are those
    that people set here, by column; `repository_settings` what the file in the repository said when it was
    read last, of which some count only while its hash is the one that an admin accepted. See `settings`.
    """

    name = models.CharField(max_length=200)
    path = models.TextField()
    is_git = models.BooleanField(default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, null=True, related_name="projects"
    )
    credential = models.ForeignKey(
        Credential, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    agent = models.CharField(max_length=60, null=True)
    model = models.CharField(max_length=200, null=True)
    permission_mode = models.CharField(
        max_length=12, choices=PermissionMode.choices, default=PermissionMode.UNATTENDED
    )
    base_branch = models.CharField(max_length=250, null=True)
    branch_template = models.CharField(max_length=250, null=True)
    worktree = models.BooleanField(default=True)
    max_parallel_agents = models.PositiveIntegerField(null=True)
    auto_commit = models.BooleanField(default=False)
    setup_script = models.TextField(null=True)
    cleanup_script = models.TextField(null=True)
    copy_files = models.JSONField(default=list)
    own_settings = models.JSONField(default=dict)
    repository_settings = models.JSONField(default=dict)
    repository_hash = models.CharField(max_length=64, null=True)
    accepted_hash = models.CharField(max_length=64, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class ProjectMember(models.Model):
    class Role(models.TextChoices):
        ADMIN = "admin"
        MEMBER = "member"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.project_id}"


class Invitation(models.Model):
    """Somebody without an account yet, who becomes a member when one with this email (lower-case) appears.

    Of the code that they may need to make it only a hash is kept: whoever invites is shown it once.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254, db_index=True)
    role = models.CharField(
        max_length=10, choices=ProjectMember.Role.choices, default=ProjectMember.Role.MEMBER
    )
    code_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "email"], name="one_invitation_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.project_id}"


class ProjectVisit(models.Model):
    """What one person sees of a project in their own way: its place in their list, when last opened.

    `read_version` rises when they read something; it is part of the ETag of their card lists.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="visits")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveIntegerField(null=True)
    last_opened_at = models.DateTimeField(null=True)
    read_version = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_visit_per_project"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} at {self.project_id}"
