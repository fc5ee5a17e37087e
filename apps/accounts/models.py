from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Role(models.TextChoices):
    SUPER_ADMIN = "super_admin"
    ADMIN = "admin"
    USER = "user"


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: object) -> User:
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save()
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser):
    """A person. `is_local` marks the stand-in that acts while accounts are switched off (A2).

    `token_version` is part of every JWT: raising it ends all of this user's sign-ins, and no personal token.
    """

    email = models.EmailField(max_length=254, unique=True)
    display_name = models.CharField(max_length=200)
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.USER)
    auth_provider = models.CharField(max_length=20, default="local")
    avatar_url = models.URLField(max_length=500, null=True)
    is_active = models.BooleanField(default=True)
    is_local = models.BooleanField(default=False)
    must_change_password = models.BooleanField(default=False)
    token_version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    # The one project that whoever speaks for the user here reaches; set for a token that is for one project.
    only_project: int | None = None

    def __str__(self) -> str:
        return self.email

    @property
    def is_super_admin(self) -> bool:
        return self.role == Role.SUPER_ADMIN


class Preferences(models.Model):
    """How one person wants it: what differs from the defaults, by the names on the wire."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="preferences"
    )
    settings = models.JSONField(default=dict)
    notifications = models.JSONField(default=dict)
    shortcuts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"of {self.user_id}"


class PersonalToken(models.Model):
    """What a program signs in with; see `accounts.personal_tokens`."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    may_write = models.BooleanField(default=False)
    project_id = models.BigIntegerField(null=True, db_index=True)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def scopes(self) -> list[str]:
        """Who may write may read."""
        return ["read", "write"] if self.may_write else ["read"]
