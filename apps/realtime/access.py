"""Who may have a socket and what it may follow. One rule for opening and for the check every second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.datastructures import CaseInsensitiveMapping

from apps.accounts.authentication import auth_enabled, is_forwarded, user_for_token
from apps.accounts.models import PersonalToken, Role, User
from apps.organizations.models import OrganizationMember
from apps.projects.models import Project, ProjectMember


@dataclass(frozen=True)
class Caller:
    """`expires_at` is in seconds since the epoch; None for whoever came in while accounts were off.

    `token_id` and `only_project` are those of a personal token, which need not expire.
    """

    user_id: int
    token_version: int
    expires_at: float | None
    token_id: int | None = None
    only_project: int | None = None

    @property
    def is_signed_in(self) -> bool:
        """By a sign-in token, that is; not by a personal one, nor because accounts are off."""
        return self.token_id is None and self.expires_at is not None

    def reach(self, project_id: int) -> Reach:
        return Reach(self.user_id, project_id, self.only_project)


class Reach(NamedTuple):
    """A person and a project they want to see; through a token for one project it must be that one."""

    user_id: int
    project_id: int
    only_project: int | None = None


def identify(token: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
    names = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    found = user_for_token(token, forwarded=is_forwarded(CaseInsensitiveMapping(names)))
    if found is None:
        return None
    return Caller(
        found.user.pk,
        found.user.token_version,
        found.expires_at,
        None if found.grant is None else found.grant.token_id,
        found.user.only_project,
    )


def still_valid(callers: Iterable[Caller]) -> set[Caller]:
    """Those whose token was not revoked; whether it has expired is a matter of the clock alone.

    The same as over HTTP: a user's token version counts for what was signed in with, and only for that.
    """
    asked = set(callers)
    versions = dict(
        User.objects.filter(
            pk__in={caller.user_id for caller in asked}, is_active=True
        ).values_list("pk", "token_version")
    )
    personal = {caller.token_id for caller in asked if caller.token_id is not None}
    unrevoked = (
        set(PersonalToken.objects.filter(pk__in=personal).values_list("pk", flat=True))
        if personal
        else set()
    )
    # Accounts may be switched on under a socket that came in without a token.
    enabled = auth_enabled()

    def is_valid(caller: Caller) -> bool:
        if caller.user_id not in versions:
            return False
        if caller.token_id is not None:
            return caller.token_id in unrevoked
        if caller.is_signed_in:
            return versions[caller.user_id] == caller.token_version
        return not enabled

    return {caller for caller in asked if is_valid(caller)}


def within_reach(asked: set[Reach]) -> set[Reach]:
    """Which of these a person may see: four queries, however many are asked."""
    if not asked:
        return set()
    users = {each.user_id for each in asked}
    rows = Project.objects.filter(pk__in={each.project_id for each in asked})
    projects = {
        pk: (owner, org) for pk, owner, org in rows.values_list("pk", "owner", "organization")
    }
    everywhere = set(
        User.objects.filter(pk__in=users, role=Role.SUPER_ADMIN).values_list("pk", flat=True)
    )
    members = set(
        ProjectMember.objects.filter(user__in=users, project__in=projects).values_list(
            "project_id", "user_id"
        )
    )
    organizations = {org for _, org in projects.values() if org is not None}
    colleagues = set(
        OrganizationMember.objects.filter(
            user__in=users, organization__in=organizations
        ).values_list("organization_id", "user_id")
    )

    def reaches(each: Reach) -> bool:
        if each.project_id not in projects or each.only_project not in (None, each.project_id):
            return False
        owner, organization = projects[each.project_id]
        return (
            each.user_id in everywhere
            or owner == each.user_id
            or (each.project_id, each.user_id) in members
            or (organization, each.user_id) in colleagues
        )

    return {each for each in asked if reaches(each)}
