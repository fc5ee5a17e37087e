from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common import conditional
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.credentials import renewing, services, usage, verifying
from apps.credentials.models import Credential
from apps.credentials.serializers import (
    CreateCredentialInput,
    CredentialDetail,
    UpdateCredentialInput,
    usage_shape,
)


class CredentialsView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        mine = Credential.objects.visible_to(caller(request)).order_by("pk")
        return conditional.by_content(request, CredentialDetail(mine, many=True).data)

    def post(self, request: Request) -> Response:
        body = checked(CreateCredentialInput, request.data)
        credential = services.create_credential(caller(request), **body)
        return Response(CredentialDetail(credential).data, status=201)


def visible(request: Request, credential_id: int) -> Credential:
    return get_object_or_404(Credential.objects.visible_to(caller(request)), pk=credential_id)


class CredentialView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request, credential_id: int) -> HttpResponse:
        shape = CredentialDetail(visible(request, credential_id)).data
        return conditional.by_content(request, shape)

    def patch(self, request: Request, credential_id: int) -> Response:
        credential = visible(request, credential_id)
        body = checked(UpdateCredentialInput, request.data)
        if body:
            credential = services.update_credential(credential, body)
        return Response(CredentialDetail(credential).data)

    def delete(self, request: Request, credential_id: int) -> Response:
        services.delete_credential(visible(request, credential_id))
        return Response(status=204)


class VerifyView(APIView):
    tokens = Tokens.NONE

    def post(self, request: Request, credential_id: int) -> Response:
        credential = visible(request, credential_id)
        if credential.ends_soon:
            renewing.renew(credential_id)
            credential = visible(request, credential_id)
        error = verifying.verify(credential).error
        return Response({"valid": error is None, "error": error})


class UsageView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request, credential_id: int) -> HttpResponse:
        found = usage.of(visible(request, credential_id).pk)
        return conditional.by_content(request, usage_shape(found))
