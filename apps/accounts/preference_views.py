from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts import preferences
from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common import conditional
from apps.common.kept import from_database
from apps.common.serializers import checked


class SettingsView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, preferences.settings_of(caller(request)))

    def put(self, request: Request) -> Response:
        changes = checked(preferences.SettingsInput, request.data)
        return Response(preferences.merge_settings(caller(request), changes))


class NotificationsView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, preferences.notifications_of(caller(request)))

    def put(self, request: Request) -> Response:
        changes = checked(preferences.NotificationsInput, request.data)
        return Response(preferences.merge_notifications(caller(request), changes))


class ShortcutsView(APIView):
    tokens = Tokens.NONE

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return conditional.by_content(request, preferences.shortcuts_of(caller(request)))

    def put(self, request: Request) -> Response:
        shortcuts = preferences.checked_shortcuts(request.data)
        return Response(preferences.replace_shortcuts(caller(request), shortcuts))
