"""camelCase outside, snake_case inside, for declared fields only; values inside JSON pass untouched.

`validate_<name>` would be looked up by the name on the wire: use `validators=[…]` or `validate()`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from rest_framework import serializers

from apps.common.misspelt import MOST_COMPARED, meant

_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match.group(1).upper(), name)


class Serializer(serializers.Serializer[Any]):
    default_error_messages = {"invalid": "must be an object"}

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        renamed: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
        for name, each in super().get_fields().items():
            wire = camel(name)
            if wire != name and each.source is None:
                each.source = name
            renamed[wire] = each
        return renamed


def checked(serializer: type[Serializer], data: Any) -> dict[str, Any]:
    """The validated input, by its Python names; raises a 400 that names the field."""
    if data is None:
        raise serializers.ValidationError("No data provided")
    validator = _validator(serializer)
    try:
        validated: dict[str, Any] = validator.run_validation(data)
    except serializers.ValidationError as error:
        raise _with_what_was_meant(error, validator, data) from None
    return validated


def _with_what_was_meant(
    error: serializers.ValidationError, validator: Serializer, data: Any
) -> serializers.ValidationError:
    """A required field that is missing may be there under a name that was misspelt."""
    if not isinstance(error.detail, dict) or not isinstance(data, Mapping):
        return error
    missing = [
        name
        for name, found in error.detail.items()
        if isinstance(found, list) and getattr(found[0], "code", None) == "required"
    ]
    unknown = [name for name in data if isinstance(name, str) and name not in validator.fields]
    for name in unknown[:MOST_COMPARED]:
        if better := meant(name, missing):
            text = f"This field is required. There is none called “{name}”; did you mean {better}?"
            error.detail[better] = [serializers.ErrorDetail(text, code="required")]
    return error


@cache
def _validator(serializer: type[Serializer]) -> Serializer:
    """One for all requests: to copy the declared fields for each costs more than to check them."""
    instance = serializer()
    assert instance.fields is not None
    return instance
