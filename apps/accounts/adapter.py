"""allauth does the passwords, the sign-in and its limits; this is where it is told our ways."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import ratelimit
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpRequest

from apps.common.errors import Invalid, TooMany
from apps.events.bus import atomically

T = TypeVar("T")

LOGIN_WINDOW_S = 60
JOINING_WINDOW_S = 3600
_WAIT_S = 2
_STANDSTILL_S = 10


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def clean_password(self, password: str, user: Any = None) -> str:
        try:
            cleaned: str = super().clean_password(password, user)
        except ValidationError as error:
            raise Invalid(
                f"password: {error.messages[0]}", details={"password": error.messages}
            ) from None
        return cleaned

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        ask = super().pre_authenticate

        def allowed() -> bool:
            try:
                ask(request, **credentials)
            except ValidationError:
                return False
            return True

        if not _counted_whole(allowed):
            raise TooMany(
                "Too many failed attempts. Wait a minute, then try again.",
                retry_after=LOGIN_WINDOW_S,
            )

    def _rollback_login_failed_rl_usage(self) -> None:
        _counted_whole(super()._rollback_login_failed_rl_usage)

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth's own also holds the Host header, with which a guesser could start afresh at will.
        return str(credentials["email"])

    def get_client_ip(self, request: HttpRequest) -> str:
        """Where the request came from; behind a proxy (KANBAN_PUBLIC_URL), where the proxy got it from.

        Only the last address in X-Forwarded-For is our proxy's word; those before it are the client's.
        """
        peer = str(request.META.get("REMOTE_ADDR") or "local")
        hops = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
        forwarded = hops.rpartition(",")[2].strip()
        if settings.PUBLIC_URL and forwarded and _is_near(peer):
            return forwarded[:64]
        return peer


@atomically
def _counted_whole(count: Callable[[], T]) -> T:
    """Count in one transaction: allauth notes in the database that it is counting. Left there by a process
    that died, or by a disk that was full before it was done, that note is taken for a limit that is reached.

    On PostgreSQL others wait for that note's transaction. Whoever stands still in it (a frozen container, a
    host that is gone) is thrown out after a while; who waits gives up before that, with OperationalError.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', %s, true)",
                [f"{_WAIT_S}s", f"{_STANDSTILL_S}s"],
            )
    return count()


def _is_near(address: str) -> bool:
    try:
        return ip_address(address).is_private
    except ValueError:
        return address == "local"


def limit_joining(request: HttpRequest) -> None:
    """At most 100 accounts and setups per address and hour, tries included."""
    if not _counted_whole(lambda: ratelimit.consume(request, action="signup")):
        raise TooMany(
            "Too many accounts were asked for from this address. Try again in an hour.",
            retry_after=JOINING_WINDOW_S,
        )
