from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseRedirect
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import OpenAuthentication, caller
from apps.accounts.reach import Tokens
from apps.common.ids import public_id
from apps.common.origin import public_origin
from apps.common.serializers import checked
from apps.credentials import oauth
from apps.credentials.serializers import OAuthInitInput
from apps.credentials.views import visible

CALLBACK = "/api/credentials/oauth/callback"
_LONGEST = 4_000


class InitView(APIView):
    tokens = Tokens.NONE

    def post(self, request: Request) -> Response:
        provider = checked(OAuthInitInput, request.data)["provider"]
        redirect_uri = public_origin(request) + CALLBACK
        started = oauth.start(caller(request), provider=provider, redirect_uri=redirect_uri)
        response = Response(
            {
                "id": public_id("credential", started.attempt.credential_id),
                "authorizationUrl": started.authorization_url,
            }
        )
        response.set_cookie(
            oauth.cookie_name(started.attempt),
            started.browser,
            max_age=oauth.MINUTES * 60,
            path=CALLBACK,
            secure=redirect_uri.startswith("https:"),
            httponly=True,
            samesite="Lax",
        )
        return response


class StatusView(APIView):
    tokens = Tokens.NONE

    def get(self, request: Request, credential_id: int) -> Response:
        found = oauth.status(visible(request, credential_id))
        return Response({"status": found.status, "error": found.error})


class CallbackView(APIView):
    """Where the provider sends the browser. It ends at the page, which is told how it went."""

    authentication_classes = [OpenAuthentication]
    permission_classes = []

    def get(self, request: Request) -> HttpResponse:
        state, code, error = (
            request.query_params.get(name, "")[:_LONGEST] for name in ("state", "code", "error")
        )
        attempt = oauth.find(state, request.COOKIES)
        if attempt is None:
            return _to_page(oauth="unknown")
        described = request.query_params.get("error_description", "")[:_LONGEST]
        found = oauth.finish(attempt, code=code, error=error and (described or error))
        response = _to_page(
            oauth=found.status, credential=public_id("credential", attempt.credential_id)
        )
        response.delete_cookie(oauth.cookie_name(attempt), path=CALLBACK, samesite="Lax")
        return response


def _to_page(**told: str) -> HttpResponse:
    response = HttpResponseRedirect(f"/?{urlencode(told)}")
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
