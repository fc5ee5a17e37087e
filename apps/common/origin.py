from __future__ import annotations

from django.conf import settings
from rest_framework.request import Request


def public_origin(request: Request) -> str:
    """The address by which people reach this server: the one that was set, else where they are now.

    The Host of a request was checked at the edge.
    """
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")
