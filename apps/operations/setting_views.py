from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.permissions import ChangedByAdmin
from apps.accounts.reach import Tokens
from apps.common import conditional
from apps.common.fields import ChoiceField
from apps.common.kept import from_database
from apps.common.serializers import Serializer, checked
from apps.configuration.store import CONTEXT_RELAY


class ContextRelayInput(Serializer):
    mode = ChoiceField(["off", "manual", "auto"])


class ContextRelayView(APIView):
    """Whether a session that has nearly filled its context hands over to a new one; for all projects."""

    tokens = Tokens.NONE

    permission_classes = [ChangedByAdmin]

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, {"mode": CONTEXT_RELAY.get()})

    def put(self, request: Request) -> Response:
        CONTEXT_RELAY.set(checked(ContextRelayInput, request.data)["mode"])
        return Response({"mode": CONTEXT_RELAY.get()})
