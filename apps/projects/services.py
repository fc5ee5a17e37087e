from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apps.accounts.models import User
from apps.common.errors import NotFound
from apps.credentials.assigning import hold_credential
from apps.credentials.models import Credential
from apps.events import bus
from apps.host.errors import HostError
from apps.organizations.models import Organization
from apps.organizations.standings import standing
from apps.projects import lifecycle, places, settings
from apps.projects.events import ProjectDeleted, ProjectUpdated
from apps.projects.models import Project
from apps.projects.serializers import project_shape

logger = logging.getLogger(__name__)


def create_project(
    user: User, *, name: str, path: str, organization_id: int | None = None
) -> Project:
    """With its event stream and first board, in one transaction; the directory is looked at before."""
    place = places.inspect(path, user)
    project = _insert(user, name=name, place=place, organization_id=organization_id)
    return first_settings(project)


@bus.atomically
def _insert(user: User, *, name: str, place: places.Place, organization_id: int | None) -> Project:
    project = make_project(user, name=name, place=place, organization_id=organization_id)
    lifecycle.created(project)
    return project


def make_project(
    user: User,
    *,
    name: str,
    place: places.Place,
    organization_id: int | None,
    own_settings: Mapping[str, Any] = MappingProxyType({}),
) -> Project:
    """With its event stream and nothing in it, inside the transaction of whoever puts that there."""
    places.hold(place, user)
    if organization_id is not None:
        _hold_organization(organization_id, user)
    project = Project(
        name=name,
        path=str(place.path),
        is_git=place.is_git,
        owner=user,
        organization_id=organization_id,
        own_settings={name: each for name, each in own_settings.items() if each is not None},
    )
    settings.settle(project, set(project.own_settings))
    project.save()
    bus.create_stream(project.pk)
    return project


def _hold_organization(organization_id: int, user: User) -> None:
    """It is there and the user is in it until the transaction ends."""
    organization = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id)
    if organization.first() is None or standing(user, organization_id) is None:
        raise NotFound("There is no such organization that you are in.")


@bus.atomically
def update_project(project: Project, *, by: int | None, **changes: Any) -> Project:
    """`changes` by the names of the columns, settings among them; nothing happens when nothing differs.

    Sessions that run keep what they were started with.
    """
    bus.lock(project.pk)
    project = fresh(project)
    before = copy.copy(project)
    given = settings.DEFAULTS.keys() & changes.keys()
    own = project.own_settings | {name: changes[name] for name in given}
    project.own_settings = {name: value for name, value in own.items() if value is not None}
    settings.settle(project, given)
    for name in changes.keys() - given:
        setattr(project, name, changes[name])
    return _saved(project, before, by=by)


@bus.atomically
def accept_settings(
    project: Project, file: settings.RepositoryFile | None, *, by: int | None
) -> Project:
    """All that this file says counts from now on; with None nothing that needs to be accepted does."""
    bus.lock(project.pk)
    project = fresh(project)
    before = copy.copy(project)
    if file is not None:
        settings.take(project, file)
    counted = set(settings.counting(project))
    project.accepted_hash = file.hash if file else None
    counted |= settings.counting(project).keys()
    settings.settle(project, counted - project.own_settings.keys())
    return _saved(project, before, by=by)


def refresh_settings(project: Project, *, run: str | None = None) -> Project:
    """Take what the repository says by now. Asks git: not for inside a transaction.

    A repository that can't be read says what it said. `run`: the wire id of the one whose start asks. Raises
    DomainError, and takes nothing, where the project's state doesn't allow it.
    """
    try:
        file = settings.read(project)
    except HostError as problem:
        logger.warning("the settings of project %s can't be read: %s", project.pk, problem)
        return project
    known = Project.objects.filter(pk=project.pk).values_list("repository_hash", flat=True)
    if list(known) == [file.hash if file else None]:
        return project
    return _take_settings(project, file, run)


def first_settings(project: Project) -> Project:
    """The same for one that has just been made: it is there, whatever goes wrong from now on.

    The start of a card looks at the file again.
    """
    try:
        return refresh_settings(project)
    except Exception:
        logger.exception("the settings of project %s could not be taken over", project.pk)
        return project


@bus.atomically
def _take_settings(
    project: Project, file: settings.RepositoryFile | None, run: str | None
) -> Project:
    bus.lock(project.pk)
    project = fresh(project)
    before = copy.copy(project)
    settings.take(project, file)
    return _saved(project, before, by=None, run=run)


def _saved(project: Project, before: Project, *, by: int | None, run: str | None = None) -> Project:
    """Store what differs; tell the others of it if they can see it."""
    names = [field.attname for field in Project._meta.concrete_fields]
    changed = [name for name in names if getattr(project, name) != getattr(before, name)]
    if not changed:
        return project
    visible = project_shape(project) != project_shape(before)
    project.save(update_fields=[*changed, "updated_at"])
    if visible:
        bus.publish(ProjectUpdated(project_id=project.pk, project=project), by=by)
        lifecycle.changed(project, frozenset(changed), run)
    return project


@bus.atomically
def delete_project(project: Project, *, by: int | None) -> None:
    """With everything in it; its directory and its branches stay, and so does its event stream."""
    bus.lock(project.pk)
    project = fresh(project)
    project_id = project.pk
    patches = lifecycle.deleting(project)
    # Nobody can refer to it from here on, not even without the stream. After its cards, in the order in which
    # what people keep of a card refers to both.
    list(Project.objects.select_for_update().filter(pk=project_id).values("pk"))
    project.delete()
    bus.publish(ProjectDeleted(project_id=project_id, patches=patches), by=by)


@bus.atomically
def set_credential(project: Project, credential_id: int | None, *, by: int | None) -> Project:
    """Which key its cards use that have none; whether the caller may assign it was asked before."""
    if credential_id is not None:
        hold_credential(credential_id)
    return update_project(project, by=by, credential_id=credential_id)


@bus.atomically
def release_credential(credential: Credential) -> None:
    """Before a credential goes: no project uses it any more, and browsers hear of it."""
    for project in Project.objects.filter(credential=credential).order_by("pk"):
        update_project(project, by=None, credential_id=None)


def fresh(project: Project) -> Project:
    found = Project.objects.filter(pk=project.pk).first()
    if found is None:
        raise NotFound("Somebody has just deleted this project.")
    return found
