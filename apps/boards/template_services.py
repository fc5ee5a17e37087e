"""Board templates: anybody makes them, who made one or an admin changes it, boards keep what they had."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.accounts.models import Role, User
from apps.boards.models import BoardTemplate
from apps.boards.templates import ColumnPlan
from apps.common.errors import Conflict, Forbidden, NotFound


def create_template(*, name: str, columns: list[ColumnPlan], by: User) -> BoardTemplate:
    return BoardTemplate.objects.create(name=name, columns=columns, created_by=by)


def update_template(template: BoardTemplate, *, by: User, **changes: Any) -> BoardTemplate:
    """`changes`: name, columns. What isn't named stays, also if somebody else changes it just then."""
    _require_changeable(template, by)
    if all(getattr(template, name) == value for name, value in changes.items()):
        return template
    rows = BoardTemplate.objects.filter(pk=template.pk)
    rows.update(**changes, updated_at=timezone.now())
    found = rows.first()
    if found is None:
        raise NotFound("Somebody has just deleted this template.")
    return found


def delete_template(template: BoardTemplate, *, by: User) -> None:
    _require_changeable(template, by)
    template.delete()


def _require_changeable(template: BoardTemplate, person: User) -> None:
    if template.key is not None:
        raise Conflict(
            "This template comes with the product and stays as it is; make one of your own from it.",
            code="built_in",
        )
    if template.created_by_id != person.pk and person.role not in (Role.ADMIN, Role.SUPER_ADMIN):
        raise Forbidden("Only who made the template, or an admin, may change it.")
