"""Which organizations a person may see, and as what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery

from apps.accounts.models import User
from apps.organizations.models import Organization, OrganizationMember

Role = OrganizationMember.Role


@dataclass(frozen=True)
class Standing:
    """An organization as one person has it; a super admin is an admin everywhere."""

    organization: Organization
    role: str
    member_count: int


def _with_role(user: User) -> QuerySet[Any]:
    everybody = OrganizationMember.objects.filter(organization=OuterRef("pk")).order_by()
    return Organization.objects.annotate(
        my_role=Subquery(everybody.filter(user=user).values("role")),
        members=Subquery(everybody.values("organization").annotate(n=Count("pk")).values("n")),
    )


def _standing(found: Any, user: User) -> Standing:
    role = Role.ADMIN.value if user.is_super_admin else found.my_role
    return Standing(found, role, found.members or 0)


def standings(user: User) -> list[Standing]:
    """Of all the organizations this person belongs to, oldest first; one query."""
    rows = _with_role(user).filter(my_role__isnull=False).order_by("pk")
    return [_standing(each, user) for each in rows]


def standing(user: User, organization_id: int) -> Standing | None:
    """The organization, if this person may see it. One query."""
    found = _with_role(user).filter(pk=organization_id).first()
    if found is None or (found.my_role is None and not user.is_super_admin):
        return None
    return _standing(found, user)


def members_of(organization: Organization) -> QuerySet[OrganizationMember]:
    return (
        OrganizationMember.objects.filter(organization=organization)
        .select_related("user")
        .order_by("pk")
    )
