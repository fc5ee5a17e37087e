from __future__ import annotations

from typing import Annotated, TypedDict

from apps.common.described import Operation, Operations
from apps.common.shapes import CredentialId, Moment, More, UserId
from apps.credentials import serializers as ins
from apps.credentials.views import CredentialsView, CredentialView

TAG = "Credentials"


class Credential(TypedDict):
    """`apiKey` is a hint of the key's end; the key itself is never shown."""

    id: CredentialId
    ownerId: UserId
    name: str
    provider: Annotated[str, More(examples=["anthropic"])]
    authType: Annotated[str, More(examples=["api_key"])]
    status: Annotated[str, More(examples=["unverified"])]
    apiKey: str | None
    baseUrl: str | None
    model: str | None
    createdAt: Moment
    updatedAt: Moment


OPERATIONS: Operations = {
    CredentialsView: {
        "get": Operation("Credentials that I may use", [Credential]),
        "post": Operation(
            "Keep a provider's key", Credential, ins.CreateCredentialInput, status=201
        ),
    },
    CredentialView: {
        "get": Operation("One credential", Credential),
        "patch": Operation("Change a credential", Credential, ins.UpdateCredentialInput),
        "delete": Operation("Delete a credential; what used it has none then"),
    },
}
