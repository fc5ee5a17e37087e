"""Every route, by domain; the urls module of an app is its part of the API's table of contents."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, register_converter

from apps.common.ids import PREFIXES, converter

for kind in PREFIXES:
    register_converter(converter(kind), kind)

urlpatterns: list[URLPattern | URLResolver] = []
