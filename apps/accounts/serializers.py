from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.core.validators import validate_email
from django.utils import timezone
from rest_framework import serializers

from apps.common.fields import (
    ChoiceField,
    FlagField,
    ListField,
    PublicIdField,
    TextField,
    TimeField,
)
from apps.common.serializers import Serializer


class EmailField(TextField):
    """Trimmed and lower-case, as it is stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, validators=[validate_email], **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(data).lower()


class PasswordField(TextField):
    """As typed; whether it is good enough for a new one is the adapter's to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=1_000, trim_whitespace=False, **kwargs)


class UserDetail(Serializer):
    id = PublicIdField("user", source="pk")
    email = serializers.CharField()
    display_name = serializers.CharField()
    role = serializers.CharField()
    auth_provider = serializers.CharField()
    avatar_url = serializers.CharField()
    is_super_admin = FlagField()
    is_local = FlagField()
    must_change_password = FlagField()
    created_at = TimeField()
    updated_at = TimeField()


class UserFound(Serializer):
    id = PublicIdField("user", source="pk")
    email = serializers.CharField()
    display_name = serializers.CharField()
    avatar_url = serializers.CharField()


class AuthSettingsInput(Serializer):
    enabled = FlagField()


class LoginInput(Serializer):
    email = TextField(max_length=1_000)
    password = PasswordField()


_TURNS_TEXT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069]")


def _stands_in_a_line(name: str) -> None:
    """It also stands in commits: nothing in it turns the text around it, or ends its line."""
    if _TURNS_TEXT.search(name):
        raise serializers.ValidationError(
            "must hold no line breaks and no characters that control the direction of text"
        )


class PersonNameField(TextField):
    def __init__(self, **kwargs: Any) -> None:
        validators = [_stands_in_a_line]
        super().__init__(max_length=200, required=False, validators=validators, **kwargs)


class RegisterInput(Serializer):
    email = EmailField()
    password = PasswordField()
    display_name = PersonNameField(allow_blank=True, allow_null=True)
    invite_code = TextField(max_length=200, required=False, allow_blank=True, default="")


class SetupInput(Serializer):
    email = EmailField()
    password = PasswordField()
    display_name = PersonNameField(allow_blank=True, allow_null=True)
    setup_code = TextField(max_length=200, required=False, allow_blank=True, default="")


class ProfileInput(Serializer):
    display_name = PersonNameField()


class ChangePasswordInput(Serializer):
    current_password = PasswordField()
    new_password = PasswordField()


class TokenDetail(Serializer):
    id = PublicIdField("token", source="pk")
    name = serializers.CharField()
    scopes = ListField(child=serializers.CharField())
    project_id = PublicIdField("project")
    expires_at = TimeField()
    last_used_at = TimeField()
    created_at = TimeField()


def _in_the_future(value: datetime) -> None:
    if value <= timezone.now():
        raise serializers.ValidationError("must be in the future")


class CreateTokenInput(Serializer):
    name = TextField(max_length=100)
    scopes = ListField(
        child=ChoiceField(choices=["read", "write"]), allow_empty=False, max_length=2
    )
    project_id = PublicIdField("project", required=False, allow_null=True)
    expires_at = TimeField(required=False, allow_null=True, validators=[_in_the_future])
