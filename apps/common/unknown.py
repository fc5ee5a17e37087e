"""Answers where no view answers: in the API's format, as everything else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from textwrap import shorten

from django.http import HttpRequest, HttpResponse
from django.urls import URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.common.envelope import dumps
from apps.common.errors import NotFound, error_body
from apps.common.ids import PREFIXES, BadId, parse_id, public_id

SHOWN = 60


class UnknownEndpoint(APIView):
    """Every /api address that isn't one; asks nobody who they are."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        no_id = misshapen_id(request.path)
        if no_id is not None:
            kind, text = no_id
            raise NotFound(
                f"There is no {kind} “{shorten(text, SHOWN)}”; the id of one is like {public_id(kind, 1)}."
            )
        raise NotFound("There is no such endpoint.", code="unknown_endpoint")


def misshapen_id(path: str) -> tuple[str, str] | None:
    """(kind, text) of the first part of the address that stands where an id should, in a route that there is.

    The route with the fewest of them is meant.
    """
    given = path.lstrip("/").split("/")
    fits = [wrong for route in _routes() if (wrong := _wrong_ids(route, given))]
    return min(fits, key=len)[0] if fits else None


def _wrong_ids(route: tuple[str, ...], given: list[str]) -> list[tuple[str, str]] | None:
    """None when the address isn't one of this route, whatever stands for its ids."""
    if len(route) != len(given):
        return None
    wrong: list[tuple[str, str]] = []
    for part, text in zip(route, given, strict=True):
        kind = part[1:].partition(":")[0] if part.startswith("<") else None
        if kind in PREFIXES and text:
            try:
                parse_id(kind, text)
            except BadId:
                wrong.append((kind, text))
        elif kind is not None or part != text:
            return None
    return wrong


@cache
def _routes() -> list[tuple[str, ...]]:
    return [tuple(route.split("/")) for route in _below(get_resolver(), "")]


def _below(resolver: URLResolver, prefix: str) -> Iterator[str]:
    for each in resolver.url_patterns:
        if isinstance(each.pattern, RoutePattern):
            route = prefix + str(each.pattern)
            if isinstance(each, URLResolver):
                yield from _below(each, route)
            else:
                yield route


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
