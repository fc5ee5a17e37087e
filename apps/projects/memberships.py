"""Who may see which project, and as what; one statement each, written out because every request asks.

A person who speaks through a token for one project (`User.only_project`) sees no other here, so nothing that
looks things up by these memberships can show more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from django.db import connection

from apps.accounts.models import Role as UserRole
from apps.accounts.models import User
from apps.common.fetching import shape
from apps.events.bus import Position
from apps.projects.models import Project


class Role(StrEnum):
    """What somebody is in a project: through owning it, a membership, its organization or everywhere."""

    MEMBER = "member"
    ADMIN = "admin"

    def allows(self, weakest: Role) -> bool:
        return self is Role.ADMIN or weakest is Role.MEMBER


@dataclass(frozen=True)
class Membership:
    """A project as one person has it. `at` is where its events stood when this was read.

    `at` and `read_version` together change whenever anything changes that this person sees of its rows.
    """

    project: Project
    role: Role
    at: Position
    read_version: int
    place: int | None
    last_opened_at: datetime | None


# What one person is to each project; their id three times.
_STANDING = """
    LEFT JOIN projects_projectmember mine ON mine.project_id = p.id AND mine.user_id = %s
    LEFT JOIN organizations_organizationmember organization
           ON organization.organization_id = p.organization_id AND organization.user_id = %s
    LEFT JOIN projects_projectvisit visit ON visit.project_id = p.id AND visit.user_id = %s
"""
# Without NULLS LAST, which the older SQLite of some systems doesn't know.
_IN_ORDER = "ORDER BY visit.position IS NULL, visit.position, p.id"


@cache
def _statement() -> str:
    return f"""
        SELECT stream.epoch, stream.version, visit.read_version, visit.position,
               visit.last_opened_at, mine.role, organization.role, {shape(Project).columns("p")}
        FROM projects_project p
        JOIN events_eventstream stream ON stream.project_id = p.id
        {_STANDING}
    """


def _role(user: User, owner_id: int | None, mine: str | None, lent: str | None) -> Role | None:
    if user.is_super_admin or owner_id == user.pk or Role.ADMIN in (mine, lent):
        return Role.ADMIN
    return None if mine is None and lent is None else Role.MEMBER


def _aware(value: Any) -> Any:
    """SQLite's driver gives times without their zone, which is always UTC."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _membership(user: User, row: Sequence[Any]) -> Membership | None:
    epoch, version, read_version, place, opened, mine, organization, *values = row
    project = shape(Project).made(values)
    role = _role(user, project.owner_id, mine, organization)
    if role is None:
        return None
    at = Position(epoch, version)
    return Membership(project, role, at, read_version or 0, place, _aware(opened))


def _select(user: User, where: str, parameters: Iterable[Any]) -> list[Membership]:
    with connection.cursor() as cursor:
        cursor.execute(f"{_statement()} {where}", [user.pk, user.pk, user.pk, *parameters])
        found = [_membership(user, row) for row in cursor.fetchall()]
    return [each for each in found if each is not None and reaches(user, each.project.pk)]


def reached(user: User) -> tuple[str, list[Any]]:
    """What a statement asks of its project `p`, so that it shows this person no other; and the parameters."""
    where, parameters = ["1 = 1"], list[Any]()
    if not user.is_super_admin:
        where.append("""(p.owner_id = %s
            OR EXISTS (SELECT 1 FROM projects_projectmember m
                       WHERE m.project_id = p.id AND m.user_id = %s)
            OR EXISTS (SELECT 1 FROM organizations_organizationmember o
                       WHERE o.organization_id = p.organization_id AND o.user_id = %s))""")
        parameters += [user.pk] * 3
    if user.only_project is not None:
        where.append("p.id = %s")
        parameters.append(user.only_project)
    return " AND ".join(where), parameters


def people_of(project_id: int) -> list[int]:
    """The ids of all who reach it. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT u.id FROM accounts_user u JOIN projects_project p ON p.id = %s
            WHERE u.is_active AND (u.role = %s OR p.owner_id = u.id
                OR EXISTS (SELECT 1 FROM projects_projectmember m
                           WHERE m.project_id = p.id AND m.user_id = u.id)
                OR EXISTS (SELECT 1 FROM organizations_organizationmember o
                           WHERE o.organization_id = p.organization_id AND o.user_id = u.id))
            ORDER BY u.id
            """,
            [project_id, UserRole.SUPER_ADMIN],
        )
        return [row[0] for row in cursor.fetchall()]


def reaches(user: User, project_id: int) -> bool:
    """Whether the token that this person speaks through, if any, lets them at this project."""
    return user.only_project in (None, project_id)


def membership(user: User, project_id: int) -> Membership | None:
    """The project, if this person reaches it. One query."""
    return next(iter(_select(user, "WHERE p.id = %s", [project_id])), None)


def membership_by_card(user: User, card_id: int) -> Membership | None:
    """The project of a card, if this person reaches it. One query."""
    where = "JOIN cards_card card ON card.project_id = p.id WHERE card.id = %s"
    return next(iter(_select(user, where, [card_id])), None)


def memberships(user: User, *, organization_id: int | None = None) -> list[Membership]:
    """All the projects this person reaches, in their own order; one query."""
    where, parameters = reached(user)
    if organization_id is not None:
        where += " AND p.organization_id = %s"
        parameters.append(organization_id)
    return _select(user, f"WHERE {where} {_IN_ORDER}", parameters)


def directories(user: User) -> list[tuple[str, Role | None]]:
    """Those of all projects there are, in this person's own order, and what they are in each.

    One statement: between two, a new project of their own would pass for somebody else's.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT p.path, p.id, p.owner_id, mine.role, organization.role"
            f" FROM projects_project p {_STANDING} {_IN_ORDER}",
            [user.pk] * 3,
        )
        rows = cursor.fetchall()
    return [
        (path, _role(user, *standing) if reaches(user, project_id) else None)
        for path, project_id, *standing in rows
    ]
