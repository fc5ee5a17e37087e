from __future__ import annotations

from apps.accounts.models import User


def has_users() -> bool:
    """Whether anybody has an account; the stand-in for switched-off accounts is nobody."""
    return User.objects.filter(is_local=False).exists()
