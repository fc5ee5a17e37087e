from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.authentication import as_signed_in
from apps.accounts.reach import Tokens
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.projects import conditional, invitations, members
from apps.projects.member_shapes import AddMemberInput, UpdateMemberInput
from apps.projects.scoping import ProjectScopedViewSet, Role, require


class MemberViewSet(ProjectScopedViewSet):
    tokens = Tokens.NONE
    roles = {
        "list": Role.MEMBER,
        "create": Role.ADMIN,
        "partial_update": Role.ADMIN,
        # Members may leave; to remove others takes an admin.
        "destroy": Role.MEMBER,
    }

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        # People rename themselves without an event, so the project's version doesn't cover it.
        return conditional.by_content(request, members.everybody(self.project))

    def create(self, request: Request, **kwargs: Any) -> Response:
        body = checked(AddMemberInput, request.data)
        entry = as_signed_in(
            self.user, lambda: members.add_member(self.project, **body, by=self.user.pk)
        )
        return Response(entry, status=201)

    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        role = checked(UpdateMemberInput, request.data)["role"]
        user_id = self.kwargs["user_id"]
        entry = as_signed_in(
            self.user,
            lambda: members.change_role(self.project, user_id, role=role, by=self.user.pk),
        )
        return Response(entry)

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        user_id = self.kwargs["user_id"]
        if user_id != self.user.pk:
            require(self.membership.role, Role.ADMIN)
        as_signed_in(
            self.user, lambda: members.remove_member(self.project, user_id, by=self.user.pk)
        )
        return Response(status=204)


class InvitationViewSet(ProjectScopedViewSet):
    tokens = Tokens.NONE
    roles = {"destroy": Role.ADMIN}

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        invitations.remove(self.project, self.kwargs["email"], by=self.user.pk)
        return Response(status=204)
