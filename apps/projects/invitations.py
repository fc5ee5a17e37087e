"""People who are to be members once they have an account.

The code proves, where registration is by invitation, that it is the invited who registers. It is as good as
a password for one account: shown once, kept as a hash, compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from apps.accounts.models import User
from apps.common.errors import NotFound
from apps.events import bus
from apps.projects.events import MemberAdded, MemberRemoved, MemberUpdated
from apps.projects.member_shapes import invitation_shape, member_shape
from apps.projects.models import Invitation, Project, ProjectMember

_CODE_BYTES = 16


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def invite(project: Project, *, email: str, role: str, by: int) -> dict[str, Any]:
    """Inviting again gives the role and a new code; the old one is worthless then.

    Inside a transaction that holds the email and the project's stream.
    """
    code = secrets.token_urlsafe(_CODE_BYTES)
    before = Invitation.objects.filter(project=project, email=email).first()
    invitation = before or Invitation(project=project, email=email)
    changed = before is None or before.role != role
    invitation.role = role
    invitation.code_hash = _hash(code)
    invitation.save()
    entry = invitation_shape(invitation)
    if changed:
        event = MemberAdded if before is None else MemberUpdated
        bus.publish(event(project_id=project.pk, entry=entry), by=by)
    return {**entry, "inviteCode": code}


@bus.atomically
def remove(project: Project, email: str, *, by: int) -> None:
    bus.lock(project.pk)
    invitation = Invitation.objects.filter(project=project, email=email).first()
    if invitation is None:
        raise NotFound("Nobody with this email is invited and has yet to make an account.")
    invitation.delete()
    entry = invitation_shape(invitation)
    bus.publish(MemberRemoved(project_id=project.pk, entry=entry), by=by)


def is_invited(email: str, code: str) -> bool:
    """What it finds stays until the transaction ends: the projects that invite them are held."""
    wanted = _hash(code)
    hashes = [each.code_hash for each in _held(email)]
    return any([hmac.compare_digest(each, wanted) for each in hashes])


def accept_all(user: User) -> None:
    """Make the new account a member wherever its email is invited; in the transaction that makes it."""
    for invitation in _held(user.email):
        project = invitation.project
        invitation.delete()
        if project.owner_id == user.pk:
            # The stand-in invited the person that it became by setup.
            entry = invitation_shape(invitation)
            bus.publish(MemberRemoved(project_id=project.pk, entry=entry), by=user.pk)
            continue
        member, _ = ProjectMember.objects.get_or_create(
            project=project, user=user, defaults={"role": invitation.role}
        )
        entry = member_shape(member)
        bus.publish(MemberUpdated(project_id=project.pk, entry=entry), by=user.pk)


def _held(email: str) -> list[Invitation]:
    """Of this email, as they are under the locks of their projects, which are taken in their order."""
    mine = Invitation.objects.filter(email=email).order_by("project_id")
    for project_id in list(mine.values_list("project_id", flat=True)):
        bus.lock(project_id)
    return list(mine.select_related("project"))
