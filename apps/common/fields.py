"""Serializer fields for what all domains share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from apps.common import times
from apps.common.ids import BadId, parse_id, public_id


class PublicIdField(serializers.Field[int, Any, str, Any]):
    """`card_001` outside, an integer inside."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def to_internal_value(self, data: Any) -> int:
        try:
            return parse_id(self.kind, data)
        except BadId as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: int) -> str:
        return public_id(self.kind, value)


class TextField(serializers.CharField):
    """Text as people send it: no NUL (PostgreSQL can't store it) and nothing but text.

    DRF's own CharField also takes numbers; a client that sends `{"title": 5}` has a bug that it should see.
    """

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("must be text")
        return super().to_internal_value(data)


class WholeField(serializers.IntegerField):
    """A whole JSON number; neither a fraction, nor a string, nor true."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("must be a whole number")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """true or false; not "yes", not 1."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false")
        return data


class ChoiceField(serializers.ChoiceField):
    """One of some texts; whoever sends another is told which."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and data in self.choices:
            return super().to_internal_value(data)
        allowed = f"one of: {', '.join(map(str, self.choices))}"
        said = f"“{data[:100]}” is not {allowed}" if isinstance(data, str) else f"must be {allowed}"
        raise serializers.ValidationError(said, code="invalid_choice")


class ListField(serializers.ListField):
    default_error_messages = {"not_a_list": "must be a list"}


class TimeField(serializers.DateTimeField):
    """ISO 8601 in UTC with `Z`."""

    def to_internal_value(self, data: Any) -> datetime:
        """One that names no zone counts as UTC."""
        try:
            return times.parsed(data if isinstance(data, str) else "", without_zone=UTC)
        except ValueError:
            raise serializers.ValidationError(f"must be a time like {times.EXAMPLE}") from None

    def to_representation(self, value: Any) -> Any:
        return times.iso(value)
