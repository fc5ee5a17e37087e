"""Keys at rest: AES-256-GCM under a key derived from the server's secret.

A sealed key opens only for the credential and owner it was sealed for, so a row's `sealed` copied into
another row is worth nothing.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from apps.common.errors import Conflict
from kanban_agents.secrets import derive

_VERSION = b"\x01"
_NONCE = 12


class CannotUnseal(Conflict):
    code = "credential_unreadable"


def _cipher() -> AESGCM:
    return AESGCM(derive(str(settings.SERVER_SECRET), "credentials"))


def _bound_to(credential_id: int, owner_id: int) -> bytes:
    return f"credential:{credential_id}:owner:{owner_id}".encode()


def seal(secret: str, *, credential_id: int, owner_id: int) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    sealed = _cipher().encrypt(nonce, secret.encode(), _bound_to(credential_id, owner_id))
    return _VERSION + nonce + sealed


def unseal(sealed: bytes | memoryview, *, credential_id: int, owner_id: int) -> str:
    blob = bytes(sealed)
    nonce, body = blob[1 : 1 + _NONCE], blob[1 + _NONCE :]
    try:
        if blob[:1] != _VERSION:
            raise ValueError("made by another version")
        return _cipher().decrypt(nonce, body, _bound_to(credential_id, owner_id)).decode()
    except (InvalidTag, ValueError):
        raise CannotUnseal(
            "A stored API key can't be decrypted: the server's secret key is not the one that it was"
            " stored with. Put the old secret key back, or enter the API key anew."
        ) from None


def hint(secret: str) -> str:
    """What may be shown of it."""
    return f"{secret[:7]}...****" if len(secret) >= 12 else "****"
