from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

# Scripts of our own files alone. What lays the page out writes styles as it goes.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What a browser gets for everything that isn't the API."""
    base = f"{request.scheme}://{request.get_host()}"
    response = render(request, "web/index.html", {"base": base})
    response["Content-Security-Policy"] = _POLICY
    return response
