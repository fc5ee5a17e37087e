from __future__ import annotations

from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.credentials import services, verifying
from apps.credentials.models import Credential
from apps.credentials.serializers import (
    CreateCredentialInput,
    CredentialDetail,
    UpdateCredentialInput,
)


class CredentialsView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> Response:
        mine = Credential.objects.visible_to(caller(request)).order_by("pk")
        return Response(CredentialDetail(mine, many=True).data)

    def post(self, request: Request) -> Response:
        body = checked(CreateCredentialInput, request.data)
        credential = services.create_credential(caller(request), **body)
        return Response(CredentialDetail(credential).data, status=201)


def _visible(request: Request, credential_id: int) -> Credential:
    return get_object_or_404(Credential.objects.visible_to(caller(request)), pk=credential_id)


class CredentialView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request, credential_id: int) -> Response:
        return Response(CredentialDetail(_visible(request, credential_id)).data)

    def patch(self, request: Request, credential_id: int) -> Response:
        credential = _visible(request, credential_id)
        body = checked(UpdateCredentialInput, request.data)
        if body:
            credential = services.update_credential(credential, body)
        return Response(CredentialDetail(credential).data)

    def delete(self, request: Request, credential_id: int) -> Response:
        services.delete_credential(_visible(request, credential_id))
        return Response(status=204)


class VerifyView(APIView):
    tokens = Tokens.NONE

    def post(self, request: Request, credential_id: int) -> Response:
        error = verifying.verify(_visible(request, credential_id)).error
        return Response({"valid": error is None, "error": error})
