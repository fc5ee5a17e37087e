from __future__ import annotations

from apps.accounts.models import User


def has_users() -> bool:
    """Whether anybody has an account; the stand-in for switched-off accounts is nobody."""
    return User.objects.filter(is_local=False).exists()


def held_account(email: str) -> User | None:
    """Whoever has this email (lower-case); nobody deletes them until the transaction ends."""
    people = User.objects.select_for_update(no_key=True)
    return people.filter(email=email, is_active=True, is_local=False).first()
