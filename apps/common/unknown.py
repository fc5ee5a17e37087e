"""Answers where no view answers: in the API's format, as everything else."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.common.envelope import dumps
from apps.common.errors import NotFound, error_body


class UnknownEndpoint(APIView):
    """Every /api address that isn't one; asks nobody who they are."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound("There is no such endpoint.", code="unknown_endpoint")


def _answer(status: int, code: str, message: str) -> HttpResponse:
    return HttpResponse(
        dumps(error_body(code, message)), status=status, content_type="application/json"
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(400, "invalid", "The request can't be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(403, "forbidden", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(500, "internal", "Something went wrong here; the server's log has the details.")
