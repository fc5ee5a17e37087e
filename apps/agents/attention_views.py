from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.agents.attention import attention
from apps.common.conditional import by_content
from apps.common.kept import from_database


class AttentionView(APIView):
    tokens = Tokens.ALL

    @from_database
    def get(self, request: Request) -> HttpResponse:
        return by_content(request, attention(caller(request)))
