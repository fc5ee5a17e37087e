"""`If-None-Match`: what has not changed isn't sent again."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from apps.common.envelope import dumps


def is_current(request: Request, etag: str) -> bool:
    given = request.headers.get("If-None-Match")
    if given is None:
        return False
    return given.strip() == "*" or etag in [
        tag.strip().removeprefix("W/") for tag in given.split(",")
    ]


def not_modified(etag: str) -> HttpResponse:
    response = HttpResponse(status=304)
    # The type belongs to the body that isn't sent.
    del response["Content-Type"]
    return _private(response, etag)


def json_response(body: bytes, etag: str) -> HttpResponse:
    """A body that is JSON already, envelope included."""
    return _private(HttpResponse(body, content_type="application/json"), etag)


def by_content(request: Request, data: Any) -> HttpResponse:
    """For answers that no version covers: the tag is a digest of the body, which is built either way."""
    return by_body(request, dumps({"data": data}))


def by_body(request: Request, body: bytes) -> HttpResponse:
    """The same for a body that is JSON already, envelope included."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return not_modified(etag) if is_current(request, etag) else json_response(body, etag)


def _private(response: HttpResponse, etag: str) -> HttpResponse:
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response
