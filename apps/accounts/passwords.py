"""What a password may be: 8 to 200 characters, nothing else asked of it."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.exceptions import ValidationError

LONGEST = 200


class Argon2Hasher(Argon2PasswordHasher):
    """argon2id with 19 MiB, two passes, one lane: OWASP's recommendation for servers.

    Django's default takes 100 MiB a hash, so eight sign-ins at once would take 800 MiB.
    """

    memory_cost = 19_456
    time_cost = 2
    parallelism = 1


class MaximumLengthValidator:
    def __init__(self, max_length: int = LONGEST) -> None:
        self.max_length = max_length

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if len(password) > self.max_length:
            raise ValidationError(
                f"This password is too long. It may have {self.max_length} characters at most.",
                code="password_too_long",
            )

    def get_help_text(self) -> str:
        return f"Your password may have {self.max_length} characters at most."
