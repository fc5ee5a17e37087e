"""Every change takes the organization's row before its members': it is the lock of its memberships.

A person who leaves stops seeing its projects at once; open sockets are asked about once a second.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import ProtectedError

from apps.accounts.models import User
from apps.accounts.selectors import held_account
from apps.common.errors import Conflict, NotFound
from apps.credentials.assigning import hold_credential
from apps.events.bus import atomically
from apps.organizations.models import Organization, OrganizationMember

Role = OrganizationMember.Role

Listener = Callable[[Organization], None]
_on_default_credential: list[Listener] = []


def on_default_credential(listener: Listener) -> Listener:
    """Call the listener with an organization that lends another credential now, its row locked."""
    _on_default_credential.append(listener)
    return listener


def _hold(organization_id: int) -> Organization:
    """Neither it nor who is in it changes until the transaction ends."""
    found = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id).first()
    if found is None:
        raise NotFound("Somebody has just deleted this organization.")
    return found


@atomically
def create_organization(user: User, *, name: str) -> Organization:
    organization = Organization.objects.create(name=name)
    OrganizationMember.objects.create(organization=organization, user=user, role=Role.ADMIN)
    return organization


@atomically
def rename_organization(organization_id: int, *, name: str) -> None:
    organization = _hold(organization_id)
    if organization.name != name:
        organization.name = name
        organization.save(update_fields=["name", "updated_at"])


@atomically
def delete_organization(organization_id: int) -> None:
    organization = _hold(organization_id)
    try:
        organization.delete()
    except ProtectedError:
        raise Conflict(
            "This organization still has projects. Delete them first.",
            code="organization_has_projects",
        ) from None


@atomically
def set_default_credential(organization_id: int, credential_id: int | None) -> None:
    """Whether the caller may lend this credential was asked before."""
    if credential_id is not None:
        hold_credential(credential_id)
    organization = _hold(organization_id)
    if organization.default_credential_id == credential_id:
        return
    organization.default_credential_id = credential_id
    organization.save(update_fields=["default_credential", "updated_at"])
    for listener in _on_default_credential:
        listener(organization)


@atomically
def add_member(organization_id: int, *, email: str, role: str) -> OrganizationMember:
    organization = _hold(organization_id)
    user = held_account(email)
    if user is None:
        raise NotFound(
            "Nobody has an account with this email. Let them create one first, then add them.",
            code="user_not_found",
        )
    if OrganizationMember.objects.filter(organization=organization, user=user).exists():
        raise Conflict("This person is in the organization already.", code="already_member")
    return OrganizationMember.objects.create(organization=organization, user=user, role=role)


@atomically
def change_role(organization_id: int, user_id: int, *, role: str) -> OrganizationMember:
    organization = _hold(organization_id)
    member = _member(organization, user_id)
    if member.role != role:
        if member.role == Role.ADMIN:
            _keep_an_admin(organization)
        member.role = role
        member.save(update_fields=["role"])
    return member


@atomically
def remove_member(organization_id: int, user_id: int) -> None:
    organization = _hold(organization_id)
    member = _member(organization, user_id)
    if member.role == Role.ADMIN:
        _keep_an_admin(organization)
    member.delete()


def _member(organization: Organization, user_id: int) -> OrganizationMember:
    members = OrganizationMember.objects.select_related("user").filter(organization=organization)
    found = members.filter(user=user_id).first()
    if found is None:
        raise NotFound("This person is not in the organization.")
    return found


def _keep_an_admin(organization: Organization) -> None:
    admins = OrganizationMember.objects.filter(organization=organization, role=Role.ADMIN)
    if admins.count() == 1:
        raise Conflict(
            "This is the organization's last admin. Make somebody else an admin first.",
            code="last_admin",
        )
