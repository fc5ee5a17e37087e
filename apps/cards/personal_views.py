"""What each person has of a project's cards for themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.reach import Tokens
from apps.cards import panels, services
from apps.common.kept import from_database
from apps.projects import conditional
from apps.projects.scoping import ProjectScopedViewSet, Role


class ReadingViewSet(ProjectScopedViewSet):
    roles = {"mark_all_read": Role.MEMBER}
    tokens = Tokens.ALL

    def mark_all_read(self, request: Request, **kwargs: Any) -> Response:
        services.mark_all_viewed(self.project.pk, user_id=self.user.pk)
        return Response(status=204)


class PanelStateViewSet(ProjectScopedViewSet):
    roles = {"list": Role.MEMBER, "update": Role.MEMBER, "destroy": Role.MEMBER}
    tokens = Tokens.ALL

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        return conditional.by_body(request, self._body())

    def update(self, request: Request, **kwargs: Any) -> HttpResponse:
        states = panels.checked_states(request.data)
        panels.merge_states(self.project.pk, self.user.pk, states)
        return HttpResponse(self._body(), content_type="application/json")

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        # A preference that isn't there is gone already, and so is that of a card that isn't (C26).
        panels.forget(self.project.pk, self.kwargs["card_id"], self.user.pk)
        return Response(status=204)

    def _body(self) -> bytes:
        return b'{"data":' + panels.states_of(self.project.pk, self.user.pk) + b"}"
