from __future__ import annotations

from typing import Any

from django.db.models import Q

from apps.accounts.models import User
from apps.common.errors import NotFound
from apps.credentials.assigning import hold_credential
from apps.credentials.models import Credential
from apps.events import bus
from apps.organizations.models import Organization
from apps.organizations.standings import standing
from apps.projects import lifecycle, places
from apps.projects.events import ProjectDeleted, ProjectUpdated
from apps.projects.models import Project


def create_project(
    user: User, *, name: str, path: str, organization_id: int | None = None
) -> Project:
    """With its event stream and first board, in one transaction; the directory is looked at before."""
    place = places.inspect(path, user)
    return _insert(user, name=name, place=place, organization_id=organization_id)


@bus.atomically
def _insert(user: User, *, name: str, place: places.Place, organization_id: int | None) -> Project:
    if organization_id is not None:
        _hold_organization(organization_id, user)
    project = Project.objects.create(
        name=name,
        path=str(place.path),
        is_git=place.is_git,
        owner=user,
        organization_id=organization_id,
    )
    bus.create_stream(project.pk)
    lifecycle.created(project)
    return project


def _hold_organization(organization_id: int, user: User) -> None:
    """It is there and the user is in it until the transaction ends."""
    organization = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id)
    if organization.first() is None or standing(user, organization_id) is None:
        raise NotFound("There is no such organization that you are in.")


@bus.atomically
def update_project(project: Project, *, by: int | None, **changes: Any) -> Project:
    """`changes` by the names of the columns; nothing happens when nothing differs.

    Sessions that run keep what they were started with.
    """
    bus.lock(project.pk)
    project = fresh(project)
    changed = [name for name, value in changes.items() if getattr(project, name) != value]
    if not changed:
        return project
    for name in changed:
        setattr(project, name, changes[name])
    project.save(update_fields=[*changed, "updated_at"])
    bus.publish(ProjectUpdated(project_id=project.pk, project=project), by=by)
    lifecycle.changed(project, frozenset(changed))
    return project


@bus.atomically
def delete_project(project: Project, *, by: int | None) -> None:
    """With everything in it; its directory and its branches stay, and so does its event stream."""
    bus.lock(project.pk)
    project = fresh(project)
    project_id = project.pk
    lifecycle.deleting(project)
    project.delete()
    bus.publish(ProjectDeleted(project_id=project_id), by=by)


@bus.atomically
def set_credential(project: Project, credential_id: int | None, *, by: int | None) -> Project:
    """Which key its cards use that have none; whether the caller may assign it was asked before."""
    if credential_id is not None:
        hold_credential(credential_id)
    return update_project(project, by=by, credential_id=credential_id)


@bus.atomically
def release_credential(credential: Credential) -> None:
    """Before a credential goes: no project uses it any more, and browsers hear of it.

    Nor does a session begin with it until then, in projects that have it from their organization.
    """
    own, lent = Q(credential=credential), Q(organization__default_credential=credential)
    for project in Project.objects.filter(own | lent).order_by("pk"):
        bus.lock(project.pk)
        if project.credential_id == credential.pk:
            update_project(project, by=None, credential_id=None)


def fresh(project: Project) -> Project:
    found = Project.objects.filter(pk=project.pk).first()
    if found is None:
        raise NotFound("Somebody has just deleted this project.")
    return found
