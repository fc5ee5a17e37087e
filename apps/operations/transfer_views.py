from __future__ import annotations

from io import BytesIO
from typing import Any, BinaryIO

import orjson
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common.fields import PublicIdField, TextField
from apps.common.serializers import Serializer, checked
from apps.common.uploads import receive
from apps.operations.transfer import reading, storing, writing
from apps.projects.scoping import ProjectScopedViewSet, Role
from apps.projects.views import shape_for

LARGEST_FILE = 25_000_000


class ExportViewSet(ProjectScopedViewSet):
    roles = {"export": Role.MEMBER}
    tokens = Tokens.ALL

    def export(self, request: Request, **kwargs: Any) -> HttpResponse:
        document = writing.document(self.project)
        response = HttpResponse(
            orjson.dumps(document, option=orjson.OPT_INDENT_2), content_type="application/json"
        )
        name = "".join(
            each if each.isprintable() and each not in "/\\" else "-" for each in self.project.name
        )
        disposition = content_disposition_header(True, f"{name}-export.json")  # noqa: FBT003
        response["Content-Disposition"] = disposition or "attachment"
        return response


class ImportInput(Serializer):
    path = TextField(max_length=4_096, trim_whitespace=False)
    organization_id = PublicIdField("organization", required=False)


class ImportView(APIView):
    tokens = Tokens.UNBOUND

    def post(self, request: Request) -> Response:
        user = caller(request)
        content = BytesIO()

        def kept(name: str) -> BinaryIO:
            return content

        fields = receive(request, limit=LARGEST_FILE, open_file=kept).fields
        given = checked(ImportInput, fields)
        document = reading.parse(content.getvalue())
        project = storing.import_project(
            user,
            document,
            path=given["path"],
            organization_id=given.get("organization_id"),
        )
        return Response(shape_for(user, project.pk), status=201)
