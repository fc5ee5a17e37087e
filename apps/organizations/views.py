"""Organizations: outsiders get a 404, members who are no admins a 403 for what changes something."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from django.utils.functional import cached_property
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from apps.accounts.authentication import as_signed_in, caller
from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.common import conditional
from apps.common.errors import Forbidden, NotFound
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.credentials.assigning import require_assignable
from apps.organizations import services
from apps.organizations.models import OrganizationMember
from apps.organizations.serializers import (
    AddMemberInput,
    CreateOrganizationInput,
    DefaultCredentialInput,
    UpdateMemberInput,
    UpdateOrganizationInput,
    member_shape,
    organization_shape,
)
from apps.organizations.standings import Standing, members_of, standing, standings

Role = OrganizationMember.Role


def _standing(user: User, organization_id: int) -> Standing:
    found = standing(user, organization_id)
    if found is None:
        raise NotFound("There is nothing here that you may see.")
    return found


class OrganizationsView(APIView):
    tokens = {"get": Tokens.UNBOUND}

    @from_database
    def get(self, request: Request) -> HttpResponse:
        shapes = [organization_shape(each) for each in standings(caller(request))]
        return conditional.by_content(request, shapes)

    def post(self, request: Request) -> Response:
        user = caller(request)
        body = checked(CreateOrganizationInput, request.data)
        organization = services.create_organization(user, **body)
        return Response(organization_shape(_standing(user, organization.pk)), status=201)


class OrganizationScopedViewSet(ViewSet):
    """`roles` names the weakest role for every action; a contract test fails on one that is missing."""

    roles: ClassVar[dict[str, Role]]
    tokens: ClassVar[Tokens | dict[str, Tokens]] = Tokens.NONE

    @cached_property
    def user(self) -> User:
        return caller(self.request)

    @cached_property
    def standing(self) -> Standing:
        return _standing(self.user, self.kwargs["organization_id"])

    @property
    def id(self) -> int:
        return self.standing.organization.pk

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action is None or self.action == "metadata":
            raise MethodNotAllowed(str(request.method))
        self.require(self.roles[self.action])

    def require(self, weakest: Role) -> None:
        if weakest == Role.ADMIN != self.standing.role:
            raise Forbidden("Only an admin of the organization may do this.")

    def changed(self) -> Response:
        return Response(organization_shape(_standing(self.user, self.id)))


class OrganizationViewSet(OrganizationScopedViewSet):
    roles = {
        "retrieve": Role.MEMBER,
        "partial_update": Role.ADMIN,
        "destroy": Role.ADMIN,
        "default_credential": Role.ADMIN,
    }
    tokens = {"retrieve": Tokens.UNBOUND}

    @from_database
    def retrieve(self, request: Request, **kwargs: Any) -> HttpResponse:
        return conditional.by_content(request, organization_shape(self.standing))

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        body = checked(UpdateOrganizationInput, request.data)
        if "name" in body:
            services.rename_organization(self.id, name=body["name"])
        return self.changed()

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        services.delete_organization(self.id)
        return Response(status=204)

    def default_credential(self, request: Request, **kwargs: Any) -> Response:
        credential_id = checked(DefaultCredentialInput, request.data)["credential_id"]
        require_assignable(credential_id, self.user)
        services.set_default_credential(self.id, credential_id)
        return self.changed()


class MemberViewSet(OrganizationScopedViewSet):
    roles = {
        "list": Role.MEMBER,
        "create": Role.ADMIN,
        "partial_update": Role.ADMIN,
        # Members may leave; to remove others takes an admin.
        "destroy": Role.MEMBER,
    }
    tokens = Tokens.NONE

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        members = members_of(self.standing.organization)
        return conditional.by_content(request, [member_shape(each) for each in members])

    def create(self, request: Request, **kwargs: Any) -> Response:
        body = checked(AddMemberInput, request.data)
        member = as_signed_in(self.user, lambda: services.add_member(self.id, **body))
        return Response(member_shape(member), status=201)

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        role = checked(UpdateMemberInput, request.data)["role"]
        user_id = self.kwargs["user_id"]
        member = as_signed_in(self.user, lambda: services.change_role(self.id, user_id, role=role))
        return Response(member_shape(member))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        user_id = self.kwargs["user_id"]
        if user_id != self.user.pk:
            self.require(Role.ADMIN)
        as_signed_in(self.user, lambda: services.remove_member(self.id, user_id))
        return Response(status=204)
