from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.reach import Tokens
from apps.common.envelope import dumps
from apps.common.fetching import fetch
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.projects import conditional
from apps.projects.scoping import ProjectScopedViewSet, Role, nothing_here
from apps.scripts import runs, selectors, services
from apps.scripts.models import Script
from apps.scripts.serializers import (
    CreateScriptInput,
    ReorderScriptsInput,
    UpdateScriptInput,
    script_shape,
    status_shape,
)


class ScriptViewSet(ProjectScopedViewSet):
    """Shell commands of a project. Who may run one runs code as the server's user."""

    roles = {
        "list": Role.MEMBER,
        "create": Role.MEMBER,
        "reorder": Role.MEMBER,
        "update": Role.MEMBER,
        "destroy": Role.MEMBER,
        "status": Role.MEMBER,
        "run": Role.MEMBER,
        "cancel": Role.MEMBER,
    }
    tokens = Tokens.ALL

    def script(self) -> Script:
        found = fetch(Script, self.kwargs["script_id"], project_id=self.project.pk)
        if found is None:
            raise nothing_here()
        return found

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        etag = conditional.etag_of(self.membership)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        scripts = Script.objects.filter(project=self.project).order_by("position", "pk")
        body = dumps({"data": [script_shape(each) for each in scripts]})
        return conditional.json_response(body, etag)

    def create(self, request: Request, **kwargs: Any) -> Response:
        body = checked(CreateScriptInput, request.data)
        script = services.create_script(self.project.pk, **body, by=self.user.pk)
        return Response(script_shape(script), status=201)

    def reorder(self, request: Request, **kwargs: Any) -> Response:
        ids = checked(ReorderScriptsInput, request.data)["ids"]
        ordered = services.reorder_scripts(self.project.pk, ids, by=self.user.pk)
        return Response([script_shape(each) for each in ordered])

    def update(self, request: Request, **kwargs: Any) -> Response:
        script = self.script()
        body = checked(UpdateScriptInput, request.data)
        script = services.update_script(script, **body, by=self.user.pk)
        return Response(script_shape(script))

    def destroy(self, request: Request, **kwargs: Any) -> Response:
        services.delete_script(self.script(), by=self.user.pk)
        return Response(status=204)

    def status(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Not `from_database`: that no worker lives is seen in no row."""
        scripts = Script.objects.filter(project=self.project).order_by("position", "pk")
        return conditional.by_content(request, _entries(scripts))

    def run(self, request: Request, **kwargs: Any) -> Response:
        script = self.script()
        runs.start(script, by=self.user.pk)
        return Response(_entries([script])[0])

    def cancel(self, request: Request, **kwargs: Any) -> Response:
        script = self.script()
        runs.cancel(script, by=self.user.pk)
        return Response(_entries([script])[0])


def _entries(scripts: Iterable[Script]) -> list[dict[str, Any]]:
    return [
        {**status_shape(each.script_id, each.run), "output": each.output}
        for each in selectors.standings(scripts)
    ]
