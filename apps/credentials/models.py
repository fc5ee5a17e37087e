from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from apps.accounts.models import User


class Provider(models.TextChoices):
    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    OPENAI_COMPATIBLE = "openai-compatible"
    GOOGLE = "google"
    OPENROUTER = "openrouter"
    CLAUDE_LOGIN = "claude-login"
    CODEX_LOGIN = "codex-login"


# An agent keeps the token that it was started with, so it should have some of its life before it.
_AHEAD = timedelta(minutes=15)
LOGINS = (Provider.CLAUDE_LOGIN, Provider.CODEX_LOGIN)


class CredentialQuerySet(models.QuerySet["Credential"]):
    def visible_to(self, user: User) -> CredentialQuerySet:
        """The user's own; a super admin's are all."""
        return self.all() if user.is_super_admin else self.filter(owner=user)


class Credential(models.Model):
    """A key somebody owns. `sealed` is the encrypted key (see `credentials.sealing`); `hint` its mask.

    A token got by signing in may end, at `expires_at`; `renewal` is the encrypted refresh token that gets the
    next one, and until `renewing_until` somebody is asking for it.
    """

    class AuthType(models.TextChoices):
        API_KEY = "api_key"
        OAUTH = "oauth"

    class Status(models.TextChoices):
        PENDING = "pending"
        READY = "ready"
        FAILED = "failed"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    provider = models.CharField(max_length=30, choices=Provider.choices)
    auth_type = models.CharField(max_length=10, choices=AuthType.choices, default=AuthType.API_KEY)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    sealed = models.BinaryField(null=True)
    hint = models.CharField(max_length=20, null=True)
    expires_at = models.DateTimeField(null=True)
    renewal = models.BinaryField(null=True)
    renewing_until = models.DateTimeField(null=True)
    base_url = models.URLField(max_length=500, null=True)
    model = models.CharField(max_length=200, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager[Credential]] = CredentialQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def ends_soon(self) -> bool:
        """Whether it is time to get the next token (`credentials.renewing`)."""
        if self.renewal is None or self.expires_at is None:
            return False
        return self.expires_at - timezone.now() < _AHEAD


class OAuthAttempt(models.Model):
    """Somebody's way to a provider and back, by which a credential gets its token.

    Of the state and of what the browser was given only hashes are kept. `used_at` is set by the first answer
    that comes back, whatever it says: a second one finds nothing to do. `error` is a sentence for people.
    """

    credential = models.OneToOneField(Credential, on_delete=models.CASCADE, related_name="oauth")
    state_hash = models.CharField(max_length=64)
    browser_hash = models.CharField(max_length=64)
    # The PKCE verifier, as keys are kept.
    verifier = models.BinaryField()
    redirect_uri = models.TextField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    error = models.TextField(null=True)

    def __str__(self) -> str:
        return f"sign-in for credential {self.credential_id}"
