from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.boards import template_services
from apps.boards.models import BoardTemplate
from apps.boards.serializers import CreateTemplateInput, UpdateTemplateInput, template_shape
from apps.common.errors import NotFound
from apps.common.fetching import fetch
from apps.common.kept import from_database
from apps.common.serializers import checked
from apps.projects import conditional


class TemplatesView(APIView):
    tokens = Tokens.UNBOUND

    @from_database
    def get(self, request: Request) -> HttpResponse:
        templates = BoardTemplate.objects.order_by("pk")
        return conditional.by_content(request, [template_shape(each) for each in templates])

    def post(self, request: Request) -> Response:
        body = checked(CreateTemplateInput, request.data)
        template = template_services.create_template(**body, by=caller(request))
        return Response(template_shape(template), status=201)


class TemplateView(APIView):
    tokens = Tokens.UNBOUND

    def patch(self, request: Request, template_id: int) -> Response:
        template = _template(template_id)
        body = checked(UpdateTemplateInput, request.data)
        template = template_services.update_template(template, **body, by=caller(request))
        return Response(template_shape(template))

    def delete(self, request: Request, template_id: int) -> Response:
        template_services.delete_template(_template(template_id), by=caller(request))
        return Response(status=204)


def _template(template_id: int) -> BoardTemplate:
    found = fetch(BoardTemplate, template_id)
    if found is None:
        raise NotFound("There is no such board template.")
    return found
