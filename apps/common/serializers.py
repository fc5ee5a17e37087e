"""camelCase outside, snake_case inside, for declared fields only; values inside JSON pass untouched.

`validate_<name>` would be looked up by the name on the wire: use `validators=[…]` or `validate()`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from rest_framework import serializers

_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match.group(1).upper(), name)


class Serializer(serializers.Serializer[Any]):
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
    validated: dict[str, Any] = _validator(serializer).run_validation(data)
    return validated


@cache
def _validator(serializer: type[Serializer]) -> Serializer:
    """One for all requests: to copy the declared fields for each costs more than to check them."""
    instance = serializer()
    assert instance.fields is not None
    return instance
