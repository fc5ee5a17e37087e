"""Who is in a project: its owner, its members and those who are invited. Changes hold its event stream."""

from __future__ import annotations

from typing import Any

from apps.accounts import joining
from apps.accounts.selectors import held_account
from apps.common.errors import Conflict, NotFound
from apps.events import bus
from apps.projects import invitations
from apps.projects.events import MemberAdded, MemberRemoved, MemberUpdated
from apps.projects.member_shapes import invitation_shape, member_shape, owner_shape
from apps.projects.models import Project, ProjectMember
from apps.projects.services import fresh


def everybody(project: Project) -> list[dict[str, Any]]:
    """The owner, then members, then invitations, each oldest first; three queries."""
    owner = project.owner
    members = ProjectMember.objects.filter(project=project).select_related("user")
    return [
        *([] if owner is None else [owner_shape(owner, project)]),
        *(member_shape(each) for each in members.exclude(user=project.owner_id).order_by("pk")),
        *(invitation_shape(each) for each in project.invitations.order_by("pk")),
    ]


@bus.atomically
def add_member(project: Project, *, email: str, role: str, by: int) -> dict[str, Any]:
    """The new entry of the list; with an `inviteCode` where it is an invitation."""
    joining.hold(email)
    bus.lock(project.pk)
    project = fresh(project)
    user = held_account(email)
    if user is None:
        return invitations.invite(project, email=email, role=role, by=by)
    if user.pk == project.owner_id or _find(project, user.pk) is not None:
        raise Conflict(
            "This person is in the project already. Change their role instead.",
            code="already_member",
        )
    member = ProjectMember.objects.create(project=project, user=user, role=role)
    entry = member_shape(member)
    bus.publish(MemberAdded(project_id=project.pk, entry=entry), by=by)
    return entry


@bus.atomically
def change_role(project: Project, user_id: int, *, role: str, by: int) -> dict[str, Any]:
    bus.lock(project.pk)
    member = _member(fresh(project), user_id)
    if member.role == role:
        return member_shape(member)
    member.role = role
    member.save(update_fields=["role"])
    entry = member_shape(member)
    bus.publish(MemberUpdated(project_id=project.pk, entry=entry), by=by)
    return entry


@bus.atomically
def remove_member(project: Project, user_id: int, *, by: int) -> None:
    """Their subscriptions end when the event reaches the sockets, at the latest within a second."""
    bus.lock(project.pk)
    member = _member(fresh(project), user_id)
    entry = member_shape(member)
    member.delete()
    bus.publish(MemberRemoved(project_id=project.pk, entry=entry), by=by)


def _find(project: Project, user_id: int) -> ProjectMember | None:
    members = ProjectMember.objects.filter(project=project, user=user_id)
    return members.select_related("user").first()


def _member(project: Project, user_id: int) -> ProjectMember:
    if project.owner_id == user_id:
        raise Conflict(
            "This is the project's owner, who stays in it as its admin.", code="project_owner"
        )
    found = _find(project, user_id)
    if found is None:
        raise NotFound("This person is not a member of the project.")
    return found
