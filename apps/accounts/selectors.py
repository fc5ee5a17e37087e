from __future__ import annotations

import re

from django.db.models import Q

from apps.accounts.models import User

MOST_FOUND = 20


def has_users() -> bool:
    """Whether anybody has an account; the stand-in for switched-off accounts is nobody."""
    return User.objects.filter(is_local=False).exists()


def held_account(email: str) -> User | None:
    """Whoever has this email (lower-case); nobody deletes them until the transaction ends."""
    people = User.objects.select_for_update(no_key=True)
    return people.filter(email=email, is_active=True, is_local=False).first()


def hold_user(user_id: int) -> None:
    """What the person sets for themselves changes nowhere else until the transaction ends."""
    User.objects.select_for_update(no_key=True).filter(pk=user_id).first()


def people_like(text: str) -> list[User]:
    """Those whose name or email contains it, in any case; as many as fit in a list to choose from."""
    if not text or "\0" in text:
        return []
    # SQLite's LIKE knows the case of ASCII letters only; a regular expression knows it of all.
    pattern = re.escape(text)
    people = User.objects.filter(is_active=True, is_local=False)
    found = people.filter(Q(display_name__iregex=pattern) | Q(email__iregex=pattern))
    return list(found.order_by("display_name", "pk")[:MOST_FOUND])
