from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from rest_framework import serializers

from apps.common.fields import PublicIdField, TextField, TimeField
from apps.common.serializers import Serializer
from apps.common.times import iso
from apps.credentials.models import Provider
from apps.credentials.usage import Usage

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def _known_provider(value: str) -> None:
    if value not in Provider.values:
        raise serializers.ValidationError(f"must be one of: {', '.join(Provider.values)}")


def _sendable(value: str) -> None:
    """It goes into a header and into the environment of a process."""
    if value and not _PRINTABLE.fullmatch(value):
        raise serializers.ValidationError("must be plain characters without spaces")


def _web_address(value: str) -> None:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises if it is none
    except ValueError:
        raise serializers.ValidationError("must be a web address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", value):
        raise serializers.ValidationError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise serializers.ValidationError("must hold no user name or password; use apiKey")


class CredentialDetail(Serializer):
    id = PublicIdField("credential", source="pk")
    owner_id = PublicIdField("user")
    name = serializers.CharField()
    provider = serializers.CharField()
    auth_type = serializers.CharField()
    status = serializers.CharField()
    api_key = serializers.CharField(source="hint")
    base_url = serializers.CharField()
    model = serializers.CharField()
    created_at = TimeField()
    updated_at = TimeField()


def usage_shape(usage: Usage) -> dict[str, Any]:
    return {
        "sessions": usage.sessions,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "costUsd": usage.cost_usd,
        "lastUsedAt": iso(usage.last_used_at),
    }


class CreateCredentialInput(Serializer):
    name = TextField(max_length=200)
    provider = TextField(validators=[_known_provider])
    api_key = TextField(
        max_length=10_000, required=False, allow_null=True, allow_blank=True, validators=[_sendable]
    )
    base_url = TextField(max_length=500, required=False, allow_null=True, validators=[_web_address])
    model = TextField(max_length=200, required=False, allow_null=True)


class UpdateCredentialInput(Serializer):
    name = TextField(max_length=200, required=False)
    api_key = TextField(
        max_length=10_000, required=False, allow_null=True, allow_blank=True, validators=[_sendable]
    )
    base_url = TextField(max_length=500, required=False, allow_null=True, validators=[_web_address])
    model = TextField(max_length=200, required=False, allow_null=True)


class OAuthInitInput(Serializer):
    provider = TextField(validators=[_known_provider])
