"""What can go wrong, as one tree; a view or service raises, `exception_handler` writes the answer.

    DomainError                 400  invalid
    ├── Invalid                 400  a value that can't be accepted
    ├── NotFound                404  absent, or nothing the caller may know of
    ├── Forbidden               403  the caller's role is too weak
    ├── Conflict                409  the thing's state doesn't allow it
    ├── TooLarge                413
    ├── TooMany                 429  with Retry-After
    └── Unavailable             503  a part of the server is down or busy

Every error answer is `{"error": {"code", "message", "details"?}}`.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

logger = logging.getLogger(__name__)


class DomainError(Exception):
    status = 400
    code = "invalid"

    def __init__(
        self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.details = details


class Invalid(DomainError):
    pass


class NotFound(DomainError):
    status = 404
    code = "not_found"


class Forbidden(DomainError):
    status = 403
    code = "forbidden"


class Conflict(DomainError):
    status = 409
    code = "conflict"


class TooLarge(DomainError):
    status = 413
    code = "too_large"


class TooMany(DomainError):
    status = 429
    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(DomainError):
    status = 503
    code = "unavailable"


def error_body(code: str, message: str, details: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    return {"error": error}


_CODES = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def sentence(detail: Any) -> str:
    """The first readable sentence of DRF's nested error detail."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            text = sentence(inner)
            return text if name == "non_field_errors" else f"{name}: {text}"
    if isinstance(detail, list | tuple):
        return sentence(detail[0]) if detail else "Invalid input."
    return str(detail)


_DISK_FULL = "53100"
_NO_SUCH_TABLE = "42P01"


def _is_another_database(error: Exception) -> bool:
    """Emptied or replaced while the server runs: it makes its tables when it starts."""
    state = getattr(error.__cause__, "sqlstate", None)
    return state == _NO_SUCH_TABLE or "no such table" in str(error)


def _outage(error: Exception) -> str:
    if _is_another_database(error):
        return (
            "The database isn't the one this server was started with: it lacks tables."
            " Put the right one back, or restart the server."
        )
    if getattr(error.__cause__, "sqlstate", None) == _DISK_FULL or "disk is full" in str(error):
        return "The server's disk is full. Make room there, then try again."
    if getattr(error, "may_be_stored", False):
        return (
            "The database went away before it said whether this was stored. Look before you repeat it;"
            " a card with an externalId is never created twice."
        )
    return "The database can't be reached or is busy. Try again shortly."


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(exc, DomainError):
        response = Response(error_body(exc.code, exc.message, exc.details), status=exc.status)
        if isinstance(exc, TooMany):
            response["Retry-After"] = str(exc.retry_after)
        return response
    if isinstance(exc, Http404):
        exc = exceptions.NotFound("There is nothing here that you may see.")
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if isinstance(exc, exceptions.APIException):
        detail: Any = exc.detail if isinstance(exc, exceptions.ValidationError) else None
        response = Response(
            error_body(_CODES.get(exc.status_code, "error"), sentence(exc.detail), detail),
            status=exc.status_code,
        )
        header = getattr(exc, "auth_header", None)
        if header:
            response["WWW-Authenticate"] = header
        return response
    if isinstance(exc, OperationalError | InterfaceError) or (
        isinstance(exc, DatabaseError) and _is_another_database(exc)
    ):
        logger.error("database unavailable: %s", exc)
        return Response(error_body("unavailable", _outage(exc)), status=503)
    if isinstance(exc, DatabaseError):
        logger.exception("database refused a statement")
    else:
        logger.exception("unexpected error in %s", context.get("view"))
    return Response(
        error_body("internal", "Something went wrong here; the server's log has the details."),
        status=500,
    )
