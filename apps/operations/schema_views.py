"""The documents that describe the API, and the page that shows them. Made when first asked for."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.accounts.reach import Tokens
from apps.accounts.views import OpenView
from apps.common import conditional
from apps.common.browsers import PAGE_POLICY

_SCRIPT = settings.BASE_DIR / "static" / "api" / "docs.js"


class SchemaView(APIView):
    tokens = Tokens.ALL

    def get(self, request: Request) -> HttpResponse:
        from apps.operations.openapi import generator

        return conditional.by_body(request, generator.document_json())


class EventsSchemaView(APIView):
    tokens = Tokens.ALL

    def get(self, request: Request) -> HttpResponse:
        from apps.operations.openapi import sockets

        return conditional.by_body(request, sockets.document_json())


class DocsView(OpenView):
    """It holds nothing but the place for a token; what it shows it asks for with that."""

    def get(self, request: Request) -> HttpResponse:
        response = HttpResponse(render_to_string("api/docs.html"))
        response["Content-Security-Policy"] = PAGE_POLICY
        return response


class PageScriptView(OpenView):
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(_SCRIPT.read_bytes(), content_type="text/javascript; charset=utf-8")
