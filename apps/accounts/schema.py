from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from apps.accounts import serializers as ins
from apps.accounts.preference_views import NotificationsView, SettingsView, ShortcutsView
from apps.accounts.preferences import NotificationsInput, SettingsInput
from apps.accounts.views import (
    AuthSettingsView,
    AuthStatusView,
    ChangePasswordView,
    LoginView,
    LogoutAllView,
    MeView,
    RegisterView,
    SetupView,
    TokensView,
    TokenView,
    UserSearchView,
)
from apps.common.described import Operation, Operations, Query
from apps.common.shapes import Moment, More, ProjectId, TokenId, UserId

TAG = "Accounts"


class User(TypedDict):
    id: UserId
    email: str
    displayName: str
    role: Literal["super_admin", "admin", "user"]
    authProvider: Literal["local", "oidc"]
    avatarUrl: str | None
    isSuperAdmin: bool
    isLocal: bool
    mustChangePassword: bool
    createdAt: Moment
    updatedAt: Moment


class UserFound(TypedDict):
    id: UserId
    email: str
    displayName: str
    avatarUrl: str | None


class SignedIn(TypedDict):
    """`token` goes into the header of every further request: `Authorization: Bearer <token>`."""

    token: str
    user: User


class AuthStatus(TypedDict):
    authEnabled: bool
    oidcEnabled: bool
    hasUsers: bool
    setupCodeRequired: bool
    registration: Literal["open", "invited"]


class AuthSettings(TypedDict):
    enabled: bool


class PersonalToken(TypedDict):
    id: TokenId
    name: str
    scopes: list[Literal["read", "write"]]
    projectId: ProjectId | None
    expiresAt: Moment | None
    lastUsedAt: Moment | None
    createdAt: Moment


class NewToken(PersonalToken):
    """`token` is shown this once; a hash of it is all that is kept."""

    token: Annotated[str, More(examples=["kba_4fQx"])]


class Settings(TypedDict):
    theme: Literal["light", "dark", "system"]
    highContrast: bool
    sidebarExpanded: bool
    agentReasoning: bool
    statusLine: bool
    hiddenToolTypes: list[str]


class Notifications(TypedDict):
    enabled: bool
    sound: bool
    agentCompleted: bool
    agentFailed: bool
    agentWaiting: bool


# Action → keys.
SHORTCUTS = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 200},
    "propertyNames": {"maxLength": 200},
    "maxProperties": 500,
    "examples": [{"newCard": "mod+k"}],
}
_LOGIN = {429: "Too many tries; `Retry-After` says when to come back."}

OPERATIONS: Operations = {
    AuthStatusView: {
        "get": Operation(
            "Whether people sign in here, and whether anybody has an account", AuthStatus
        )
    },
    SetupView: {
        "post": Operation(
            "Make the first account",
            SignedIn,
            ins.SetupInput,
            status=201,
            conflicts=("already_set_up",),
            errors={
                403: "`setup_code_required`: the start of the server prints the code.",
                **_LOGIN,
            },
        )
    },
    LoginView: {
        "post": Operation(
            "Sign in",
            SignedIn,
            ins.LoginInput,
            errors={401: "`invalid_credentials`, whatever of it was wrong.", **_LOGIN},
        )
    },
    RegisterView: {
        "post": Operation(
            "Make an account",
            SignedIn,
            ins.RegisterInput,
            status=201,
            conflicts=("setup_required", "email_taken"),
            errors={403: "`invitation_required`: this server takes invited people only.", **_LOGIN},
        )
    },
    MeView: {
        "get": Operation("Who am I", User, etag=True),
        "patch": Operation("Change my name", User, ins.ProfileInput),
    },
    ChangePasswordView: {
        "post": Operation(
            "Change my password; all my sign-ins end but the one in the answer, personal tokens stay",
            SignedIn,
            ins.ChangePasswordInput,
            conflicts=("no_password",),
            errors=_LOGIN,
        )
    },
    LogoutAllView: {"post": Operation("End all my tokens, on all devices", User)},
    AuthSettingsView: {
        "get": Operation("Whether accounts are on", AuthSettings, etag=True),
        "put": Operation(
            "Switch accounts on or off",
            AuthSettings,
            ins.AuthSettingsInput,
            conflicts=("auth_fixed", "auth_needed"),
        ),
    },
    UserSearchView: {
        "get": Operation(
            "Find people by name or email",
            [UserFound],
            query={"q": Query(str, "What their name or email contains.")},
            etag=True,
        )
    },
    TokensView: {
        "get": Operation("My personal tokens", [PersonalToken], etag=True),
        "post": Operation(
            "Make a personal token, for a program",
            NewToken,
            ins.CreateTokenInput,
            status=201,
            conflicts=("too_many_tokens",),
            errors={404: "There is no such project."},
        ),
    },
    TokenView: {"delete": Operation("Revoke a personal token")},
    SettingsView: {
        "get": Operation("My settings", Settings, etag=True),
        "put": Operation("Change some of my settings", Settings, SettingsInput),
    },
    NotificationsView: {
        "get": Operation("What I am notified of", Notifications, etag=True),
        "put": Operation("Change some of what I am notified of", Notifications, NotificationsInput),
    },
    ShortcutsView: {
        "get": Operation("My keyboard shortcuts", SHORTCUTS, etag=True),
        "put": Operation("Replace my keyboard shortcuts", SHORTCUTS, SHORTCUTS),
    },
}
