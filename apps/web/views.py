from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.common.browsers import PAGE_POLICY


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What a browser gets for everything that isn't the API."""
    base = f"{request.scheme}://{request.get_host()}"
    response = render(request, "web/index.html", {"base": base})
    response["Content-Security-Policy"] = PAGE_POLICY
    return response
