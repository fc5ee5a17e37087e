from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from apps.common.described import Operation, Operations, Query
from apps.common.shapes import CredentialId, Moment, More, UserId
from apps.credentials import serializers as ins
from apps.credentials.oauth_views import CallbackView, InitView, StatusView
from apps.credentials.views import CredentialsView, CredentialView, UsageView, VerifyView

TAG = "Credentials"


class Credential(TypedDict):
    """`apiKey` is a hint of the key's beginning; the key itself is never shown."""

    id: CredentialId
    ownerId: UserId
    name: str
    provider: Annotated[str, More(examples=["anthropic"])]
    authType: Literal["api_key", "oauth"]
    status: Literal["pending", "ready", "failed"]
    apiKey: str | None
    baseUrl: str | None
    model: str | None
    createdAt: Moment
    updatedAt: Moment


class Verified(TypedDict):
    """`error` is a sentence that says what was wrong."""

    valid: bool
    error: str | None


class CredentialUsage(TypedDict):
    sessions: int
    inputTokens: int
    outputTokens: int
    costUsd: float | None
    lastUsedAt: Moment | None


class SignInStarted(TypedDict):
    """Send the browser to `authorizationUrl`; it comes back by itself."""

    id: CredentialId
    authorizationUrl: str


class SignInStatus(TypedDict):
    """`error` says why it failed or expired."""

    status: Literal["pending", "authorized", "failed", "expired"]
    error: str | None


OPERATIONS: Operations = {
    CredentialsView: {
        "get": Operation("Credentials that I may use", [Credential], etag=True),
        "post": Operation(
            "Keep a provider's key", Credential, ins.CreateCredentialInput, status=201
        ),
    },
    CredentialView: {
        "get": Operation("One credential", Credential, etag=True),
        "patch": Operation("Change a credential", Credential, ins.UpdateCredentialInput),
        "delete": Operation("Delete a credential; what used it has none then"),
    },
    VerifyView: {"post": Operation("Ask the provider whether it takes a credential", Verified)},
    UsageView: {"get": Operation("What was done with a credential", CredentialUsage, etag=True)},
    InitView: {
        "post": Operation(
            "Begin to sign in at a provider",
            SignInStarted,
            ins.OAuthInitInput,
            errors={400: "`oauth_not_available`: nobody signs in there."},
        )
    },
    StatusView: {
        "get": Operation(
            "How a sign-in at a provider stands", SignInStatus, conflicts=("not_oauth",)
        )
    },
    CallbackView: {
        "get": Operation(
            "Where the provider sends the browser back to; ends at the page",
            status=302,
            query={
                "state": Query(str, "The proof that it was begun here."),
                "code": Query(str, "What the provider gives for it."),
                "error": Query(str, "Why the provider gives nothing."),
                "error_description": Query(str, "The same in words."),
            },
        )
    },
}
