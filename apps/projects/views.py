from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.common.errors import Conflict, Invalid
from apps.common.ids import BadId, parse_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.common.serializers import checked
from apps.credentials.assigning import require_assignable
from apps.host import git
from apps.projects import conditional, counts, places, services, visits
from apps.projects import settings as project_settings
from apps.projects.hosting import told
from apps.projects.memberships import Membership, membership, memberships
from apps.projects.scoping import ProjectScopedViewSet, Role, nothing_here, require
from apps.projects.serializers import (
    AcceptSettingsInput,
    CreateProjectInput,
    CredentialInput,
    ReorderInput,
    UpdateProjectInput,
    membership_shape,
)

# The name is the project's face.
ADMINS_ONLY = project_settings.ADMINS_ONLY | {"name"}


def _shapes(user: User, found: list[Membership]) -> list[dict[str, Any]]:
    numbers = counts.count_all(user.pk, found)
    return [membership_shape(each, numbers[each.project.pk]) for each in found]


def shape_for(user: User, project_id: int) -> dict[str, Any]:
    """The project as this person has it; a 404 if they don't reach it."""
    found = membership(user, project_id)
    if found is None:
        raise nothing_here()
    return _shapes(user, [found])[0]


class ProjectsView(APIView):
    tokens = {"get": Tokens.ALL, "post": Tokens.UNBOUND}

    @from_database
    def get(self, request: Request) -> HttpResponse:
        user = caller(request)
        found = memberships(user, organization_id=_organization_filter(request))
        return conditional.by_content(request, _shapes(user, found))

    def post(self, request: Request) -> Response:
        user = caller(request)
        project = services.create_project(user, **checked(CreateProjectInput, request.data))
        return Response(shape_for(user, project.pk), status=201)


class ProjectsOrderView(APIView):
    """Each person has their own."""

    tokens = Tokens.NONE

    def patch(self, request: Request) -> Response:
        user = caller(request)
        visits.reorder_projects(user, checked(ReorderInput, request.data)["ids"])
        return Response(_shapes(user, memberships(user)))


def _organization_filter(request: Request) -> int | None:
    given = query(request, "organizationId").get("organizationId")
    if not given:
        return None
    try:
        return parse_id("organization", given)
    except BadId as error:
        raise Invalid(f"organizationId: {error}") from None


class ProjectViewSet(ProjectScopedViewSet):
    roles = {
        "retrieve": Role.MEMBER,
        "partial_update": Role.MEMBER,
        "destroy": Role.ADMIN,
        "last_opened": Role.MEMBER,
        "files": Role.MEMBER,
        "credential": Role.ADMIN,
        "settings_by_origin": Role.MEMBER,
        "accept_settings": Role.ADMIN,
    }
    # Its settings decide what is run and with whose key, and its end is final: both are for people.
    tokens = {
        "retrieve": Tokens.ALL,
        "last_opened": Tokens.ALL,
        "files": Tokens.ALL,
    }

    @from_database
    def retrieve(self, request: Request, **kwargs: Any) -> HttpResponse:
        return conditional.by_content(request, _shapes(self.user, [self.membership])[0])

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        body = checked(UpdateProjectInput, request.data)
        if ADMINS_ONLY & body.keys():
            require(self.membership.role, Role.ADMIN)
        services.update_project(self.project, **body, by=self.user.pk)
        return Response(shape_for(self.user, self.project.pk))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        services.delete_project(self.project, by=self.user.pk)
        return Response(status=204)

    def last_opened(self, request: Request, **kwargs: Any) -> Response:
        visits.note_opened(self.project, user_id=self.user.pk)
        return Response(status=204)

    def files(self, request: Request, **kwargs: Any) -> HttpResponse:
        with told():
            found = git.tracked_files(places.directory(self.project))
        return conditional.by_content(request, found)

    def credential(self, request: Request, **kwargs: Any) -> Response:
        credential_id = checked(CredentialInput, request.data)["credential_id"]
        require_assignable(credential_id, self.user)
        services.set_credential(self.project, credential_id, by=self.user.pk)
        return Response(shape_for(self.user, self.project.pk))

    def settings_by_origin(self, request: Request, **kwargs: Any) -> HttpResponse:
        with told():
            file = project_settings.read(self.project)
        return conditional.by_content(request, project_settings.settings_shape(self.project, file))

    def accept_settings(self, request: Request, **kwargs: Any) -> Response:
        given = checked(AcceptSettingsInput, request.data)["hash"]
        with told():
            file = project_settings.read(self.project)
        if given is not None:
            _require_same(file, given)
        accepted = None if given is None else file
        project = services.accept_settings(self.project, accepted, by=self.user.pk)
        return Response(project_settings.settings_shape(project, file))


def _require_same(file: project_settings.RepositoryFile | None, given: str) -> None:
    if file is None or file.hash != given:
        raise Conflict(
            f"The base branch holds another {project_settings.FILE} than the one that you saw, or none"
            " any more. Look at it again.",
            code="settings_changed",
        )
    if file.problem is not None:
        raise Conflict(file.problem, code="settings_unusable")
