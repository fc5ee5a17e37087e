"""Whom the limits at the edge count: the bearer of a token that is good, everybody else by their address.

A token counts as the API reads it, however it was written down. One that nobody has looked up says nothing:
of those that are made up everybody has as many as they like.
"""

from __future__ import annotations

import asyncio
import contextlib

from django.db import DatabaseError, InterfaceError

from apps.accounts import personal_tokens, tokens
from apps.accounts.authentication import bearer, user_for_token
from apps.common.pools import Scope, address_of
from apps.realtime.rows import RowThread

# Not the hub's: a crowd here must not keep sockets from opening.
_thread = RowThread("http-callers")
_LOOK_FOR_S = 1.0


async def identified(scope: Scope) -> bytes:
    """Whoever it turns out to be within a second, before the request is let in.

    Costs a hop to a thread, and a read.
    """
    token = _token_of(scope)
    if token is not None and _is_plausible(token):
        with contextlib.suppress(DatabaseError, InterfaceError, TimeoutError):
            # One after another they would wait in line for a database that hangs.
            async with asyncio.timeout(_LOOK_FOR_S):
                if await _thread.read(user_for_token, token) is not None:
                    return _bearer_of(token)
    return address_of(scope)


def answered(scope: Scope) -> bytes:
    """Whoever has just been given something by the API: a token that it was asked with is good."""
    token = _token_of(scope)
    if token is not None and _is_plausible(token):
        return _bearer_of(token)
    return address_of(scope)


def _token_of(scope: Scope) -> str | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    return bearer(b",".join(values))


def _is_plausible(token: str) -> bool:
    """While accounts are off, any text passes for a sign-in."""
    return personal_tokens.is_one(token) or tokens.read(token) is not None


def _bearer_of(token: str) -> bytes:
    return b"token:" + token.encode()
