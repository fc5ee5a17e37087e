"""Where a project stands in one person's list, and when they last opened it."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.selectors import hold_user
from apps.common.errors import Invalid
from apps.common.ids import public_id
from apps.events import bus
from apps.projects.memberships import memberships
from apps.projects.models import Project, ProjectVisit
from apps.projects.services import fresh


def reorder_projects(user: User, ids: Sequence[int]) -> None:
    """The listed ones come first, the others behind as they stood. Invalid on a stranger and a repetition."""
    try:
        _reorder(user, ids)
    except IntegrityError:
        # No stream is locked, so that a project can go between our statement and the commit.
        _reorder(user, ids)


@bus.atomically
def _reorder(user: User, ids: Sequence[int]) -> None:
    hold_user(user.pk)
    known = [each.project.pk for each in memberships(user)]
    strangers = set(ids).difference(known)
    if strangers:
        raise Invalid(f"ids: you have no project {public_id('project', min(strangers))}.")
    if len(set(ids)) < len(ids):
        raise Invalid("ids: a project is listed twice.")
    order = dict.fromkeys([*ids, *known])
    visits = [
        ProjectVisit(project_id=pk, user=user, position=place) for place, pk in enumerate(order)
    ]
    ProjectVisit.objects.bulk_create(
        visits,
        update_conflicts=True,
        unique_fields=["project", "user"],
        update_fields=["position"],
    )


@bus.atomically
def note_opened(project: Project, *, user_id: int) -> None:
    bus.lock(project.pk)
    ProjectVisit.objects.update_or_create(
        project=fresh(project), user_id=user_id, defaults={"last_opened_at": timezone.now()}
    )
