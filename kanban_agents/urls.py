"""Every route, by domain; the urls module of an app is its part of the API's table of contents."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path, register_converter

from apps.common import unknown
from apps.common.ids import PREFIXES, converter

for kind in PREFIXES:
    register_converter(converter(kind), kind)

# An address fits one route only, and is tried on one after the other: what is asked for most comes first.
_APPS = (
    "cards",
    "agents",
    "boards",
    "projects",
    "scripts",
    "organizations",
    "integrations",
    "accounts",
    "credentials",
    "operations",
)

urlpatterns: list[URLPattern | URLResolver] = [
    *(path("api/", include(f"apps.{app}.urls")) for app in _APPS),
    re_path(r"^api(?:/.*)?$", unknown.UnknownEndpoint.as_view()),
    path("", include("apps.web.urls")),
]

handler400 = unknown.bad_request
handler403 = unknown.forbidden
handler404 = unknown.not_found
handler500 = unknown.server_error
