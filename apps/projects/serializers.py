from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

from apps.common.fields import (
    ChoiceField,
    FlagField,
    ListField,
    PublicIdField,
    TextField,
    WholeField,
)
from apps.common.ids import optional_id, public_id
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.projects.memberships import Membership
from apps.projects.models import PermissionMode, Project

NAME_LIMIT = 200
SCRIPT_LIMIT = 10_000

_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


def project_shape(project: Project) -> dict[str, Any]:
    """What everybody sees of it; the shape in events."""
    return {
        "id": public_id("project", project.pk),
        "name": project.name,
        "path": project.path,
        "organizationId": optional_id("organization", project.organization_id),
        "ownerId": optional_id("user", project.owner_id),
        "credentialId": optional_id("credential", project.credential_id),
        "isGitRepo": project.is_git,
        "agent": project.agent,
        "model": project.model,
        "permissionMode": project.permission_mode,
        "baseBranch": project.base_branch,
        "branchTemplate": project.branch_template,
        "worktree": project.worktree,
        "maxParallelAgents": project.max_parallel_agents,
        "setupScript": project.setup_script,
        "cleanupScript": project.cleanup_script,
        "copyFiles": project.copy_files,
        "autoCommit": project.auto_commit,
        "createdAt": iso(project.created_at),
        "updatedAt": iso(project.updated_at),
    }


def membership_shape(membership: Membership, counts: dict[str, int]) -> dict[str, Any]:
    """The project as one person has it."""
    return {
        **project_shape(membership.project),
        "role": membership.role.value,
        "position": membership.place,
        "lastOpenedAt": iso(membership.last_opened_at),
        **counts,
    }


def ref_name(value: str) -> None:
    """A name that git takes for a branch and no command line for an option."""
    if _BAD_IN_REF.search(value) or value.startswith(("-", "/", ".")):
        raise serializers.ValidationError("is not a name that a git branch can have")
    if value.endswith(("/", ".", ".lock")) or "/." in value:
        raise serializers.ValidationError("is not a name that a git branch can have")


def branch_template(value: str) -> None:
    if "{cardId}" not in value:
        raise serializers.ValidationError(
            "must contain {cardId}, so that every card has its own branch"
        )
    ref_name(value.replace("{cardId}", "card_001"))


def inner_glob(value: str) -> None:
    """It names files below the project's directory and nothing of git's own."""
    parts = value.split("/")
    if value.startswith(("/", "~")) or ".." in parts or "\\" in value:
        raise serializers.ValidationError("must be a path below the project's directory")
    if any(part.lower() == ".git" for part in parts):
        raise serializers.ValidationError("must not name what belongs to git")


class CreateProjectInput(Serializer):
    name = TextField(max_length=NAME_LIMIT)
    path = TextField(max_length=4_096, trim_whitespace=False)
    organization_id = PublicIdField("organization", required=False, allow_null=True)


class RepositorySettings(Serializer):
    """What the file in the repository may say."""

    agent = TextField(max_length=60, required=False)
    model = TextField(max_length=200, required=False)
    permission_mode = ChoiceField(PermissionMode.choices, required=False)
    branch_template = TextField(max_length=200, required=False, validators=[branch_template])
    worktree = FlagField(required=False)
    max_parallel_agents = WholeField(min_value=1, max_value=1_000, required=False)
    setup_script = TextField(max_length=SCRIPT_LIMIT, required=False, trim_whitespace=False)
    cleanup_script = TextField(max_length=SCRIPT_LIMIT, required=False, trim_whitespace=False)
    copy_files = ListField(
        child=TextField(max_length=200, validators=[inner_glob]), max_length=100, required=False
    )
    auto_commit = FlagField(required=False)


class UpdateProjectInput(Serializer):
    """`null` gives a setting back to what the repository says, else to the default."""

    name = TextField(max_length=NAME_LIMIT, required=False)
    agent = TextField(max_length=60, required=False, allow_null=True)
    model = TextField(max_length=200, required=False, allow_null=True)
    permission_mode = ChoiceField(PermissionMode.choices, required=False, allow_null=True)
    base_branch = TextField(max_length=250, required=False, allow_null=True, validators=[ref_name])
    branch_template = TextField(
        max_length=200, required=False, allow_null=True, validators=[branch_template]
    )
    worktree = FlagField(required=False, allow_null=True)
    max_parallel_agents = WholeField(min_value=1, max_value=1_000, required=False, allow_null=True)
    setup_script = TextField(
        max_length=SCRIPT_LIMIT, required=False, allow_null=True, trim_whitespace=False
    )
    cleanup_script = TextField(
        max_length=SCRIPT_LIMIT, required=False, allow_null=True, trim_whitespace=False
    )
    copy_files = ListField(
        child=TextField(max_length=200, validators=[inner_glob]),
        max_length=100,
        required=False,
        allow_null=True,
    )
    auto_commit = FlagField(required=False, allow_null=True)


class AcceptSettingsInput(Serializer):
    """`null` takes the acceptance back."""

    hash = TextField(max_length=64, allow_null=True)


class ReorderInput(Serializer):
    ids = ListField(child=PublicIdField("project"), max_length=10_000)


class CredentialInput(Serializer):
    """`null` takes the credential away."""

    credential_id = PublicIdField("credential", allow_null=True)
