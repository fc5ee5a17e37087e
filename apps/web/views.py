from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What a browser gets for everything that isn't the API."""
    return render(request, "web/index.html", {"base": f"{request.scheme}://{request.get_host()}"})
