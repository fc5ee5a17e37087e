from __future__ import annotations

import tempfile
import threading
from typing import Any, BinaryIO, cast

from django.http import FileResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common.fields import PublicIdField, TextField
from apps.common.serializers import Serializer, checked
from apps.common.uploads import receive
from apps.operations.transfer import entries, reading, storing, writing
from apps.projects.scoping import ProjectScopedViewSet, Role
from apps.projects.views import shape_for

_IN_MEMORY = 1_000_000
# What a file becomes in memory is several times as large, and SQLite stores one project at a time anyway.
_one_at_a_time = threading.Lock()


class _Pieces(FileResponse):
    # Each goes through the loop by itself.
    block_size = 256 * 1024


class ExportViewSet(ProjectScopedViewSet):
    roles = {"export": Role.MEMBER}
    tokens = Tokens.ALL

    def export(self, request: Request, **kwargs: Any) -> FileResponse:
        file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 - the answer's
        try:
            writing.write(self.project, file)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        response = _Pieces(file, content_type="application/json")
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
        with tempfile.TemporaryFile() as file:

            def kept(name: str) -> BinaryIO:
                return cast(BinaryIO, file)

            upload = receive(request, limit=entries.LARGEST_FILE, open_file=kept)
            given = checked(ImportInput, upload.fields)
            with _one_at_a_time:
                project = storing.import_project(
                    user,
                    reading.read(file),
                    path=given["path"],
                    organization_id=given.get("organization_id"),
                )
        return Response(shape_for(user, project.pk), status=201)
