from __future__ import annotations

from typing import Any

from apps.accounts.models import User
from apps.accounts.serializers import EmailField
from apps.common.fields import ChoiceField
from apps.common.ids import public_id
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.projects.models import Invitation, Project, ProjectMember

Role = ProjectMember.Role


def _active(user: User, role: str, *, is_owner: bool) -> dict[str, Any]:
    return {
        "userId": public_id("user", user.pk),
        "email": user.email,
        "displayName": user.display_name,
        "role": role,
        "status": "active",
        "isOwner": is_owner,
    }


def owner_shape(owner: User, project: Project) -> dict[str, Any]:
    entry = _active(owner, Role.ADMIN.value, is_owner=True)
    return {**entry, "createdAt": iso(project.created_at)}


def member_shape(member: ProjectMember) -> dict[str, Any]:
    entry = _active(member.user, member.role, is_owner=False)
    return {**entry, "createdAt": iso(member.created_at)}


def invitation_shape(invitation: Invitation) -> dict[str, Any]:
    """Never with the code, which is not kept."""
    return {
        "userId": None,
        "email": invitation.email,
        "displayName": None,
        "role": invitation.role,
        "status": "pending",
        "isOwner": False,
        "createdAt": iso(invitation.created_at),
    }


class AddMemberInput(Serializer):
    email = EmailField()
    role = ChoiceField(Role.choices, default=Role.MEMBER)


class UpdateMemberInput(Serializer):
    role = ChoiceField(Role.choices)
