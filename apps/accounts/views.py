from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts import services, setup_code, tokens
from apps.accounts.adapter import limit_joining
from apps.accounts.authentication import OpenAuthentication, auth_enabled, caller
from apps.accounts.models import PersonalToken, User
from apps.accounts.permissions import ChangedBySuperAdmin
from apps.accounts.reach import Tokens
from apps.accounts.selectors import has_users, people_like
from apps.accounts.serializers import (
    AuthSettingsInput,
    ChangePasswordInput,
    CreateTokenInput,
    LoginInput,
    ProfileInput,
    RegisterInput,
    SetupInput,
    TokenDetail,
    UserDetail,
    UserFound,
)
from apps.common import conditional
from apps.common.kept import from_database
from apps.common.serializers import checked


class OpenView(APIView):
    """Answers everybody, signed in or not; reads no token."""

    authentication_classes = [OpenAuthentication]
    permission_classes = []


def _signed_in(user: User) -> dict[str, Any]:
    return {"token": tokens.issue(user), "user": UserDetail(user).data}


class AuthStatusView(OpenView):
    def get(self, request: Request) -> Response:
        return Response(
            {
                "authEnabled": auth_enabled(),
                "oidcEnabled": False,
                "hasUsers": has_users(),
                "setupCodeRequired": setup_code.current() is not None,
                "registration": settings.REGISTRATION,
            }
        )


class AuthSettingsView(APIView):
    tokens = Tokens.NONE

    permission_classes = [ChangedBySuperAdmin]

    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, {"enabled": auth_enabled()})

    def put(self, request: Request) -> Response:
        enabled = checked(AuthSettingsInput, request.data)["enabled"]
        services.switch_accounts(caller(request), on=enabled)
        return Response({"enabled": auth_enabled()})


class UserSearchView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        found = people_like(request.query_params.get("q", "").strip())
        return conditional.by_content(request, UserFound(found, many=True).data)


class SetupView(OpenView):
    def post(self, request: Request) -> Response:
        body = checked(SetupInput, request.data)
        limit_joining(request._request)
        user = services.set_up(
            email=body["email"],
            password=body["password"],
            display_name=body.get("display_name"),
            code=body["setup_code"],
        )
        return Response(_signed_in(user), status=201)


class LoginView(OpenView):
    def post(self, request: Request) -> Response:
        body = checked(LoginInput, request.data)
        user = services.sign_in(request._request, email=body["email"], password=body["password"])
        return Response(_signed_in(user))


class RegisterView(OpenView):
    def post(self, request: Request) -> Response:
        body = checked(RegisterInput, request.data)
        limit_joining(request._request)
        user = services.register(
            email=body["email"],
            password=body["password"],
            display_name=body.get("display_name"),
            invite_code=body["invite_code"],
        )
        return Response(_signed_in(user), status=201)


class MeView(APIView):
    tokens = {"get": Tokens.UNBOUND}

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, UserDetail(request.user).data)

    def patch(self, request: Request) -> Response:
        body = checked(ProfileInput, request.data)
        user = caller(request)
        if body:
            user = services.rename(user, display_name=body["display_name"])
        return Response(UserDetail(user).data)


class ChangePasswordView(APIView):
    tokens = Tokens.NONE

    def post(self, request: Request) -> Response:
        body = checked(ChangePasswordInput, request.data)
        user = services.change_password(
            request._request,
            caller(request),
            current=body["current_password"],
            new=body["new_password"],
        )
        return Response(_signed_in(user))


class LogoutAllView(APIView):
    tokens = Tokens.NONE

    def post(self, request: Request) -> Response:
        return Response(UserDetail(services.end_all_tokens(caller(request))).data)


class TokensView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        mine = PersonalToken.objects.filter(user=caller(request)).order_by("pk")
        return conditional.by_content(request, TokenDetail(mine, many=True).data)

    def post(self, request: Request) -> Response:
        body = checked(CreateTokenInput, request.data)
        row, token = services.make_token(caller(request), **body)
        return Response({**TokenDetail(row).data, "token": token}, status=201)


class TokenView(APIView):
    tokens = Tokens.NONE

    def delete(self, request: Request, token_id: int) -> Response:
        user = caller(request)
        mine = PersonalToken.objects.filter(user=user)
        services.revoke_token(get_object_or_404(mine, pk=token_id), by=user)
        return Response(status=204)
