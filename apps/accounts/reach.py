"""What a personal token may reach: each view says it, and a view that says nothing is closed to tokens.

A token does what its owner may, and never more: `allow` only narrows. Which rows a token for one project
sees is not written here but follows from its user, who has `only_project` set (see projects.memberships).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from apps.common.errors import Forbidden


class Tokens(Enum):
    """Which tokens a view takes; a view's `tokens` is one of these, or one per action or method.

    `ALL` promises that everything is looked up by the caller's memberships, so that a project's token
    finds nothing of another project.
    """

    NONE = auto()
    UNBOUND = auto()
    ALL = auto()


@dataclass(frozen=True)
class Grant:
    """What a token was made for. Without a project it goes wherever its owner goes."""

    token_id: int
    project_id: int | None
    may_write: bool


def taken_by(view: Any, method: str) -> Tokens:
    """Which tokens the view takes for this method."""
    declared = getattr(view, "tokens", Tokens.NONE)
    if isinstance(declared, Mapping):
        action = getattr(view, "action", None) or method.lower().replace("head", "get")
        declared = declared.get(action, Tokens.NONE)
    return declared if isinstance(declared, Tokens) else Tokens.NONE


def allow(grant: Grant, request: Request) -> None:
    method = str(request.method)
    taken = taken_by(request.parser_context.get("view"), method)
    if taken is Tokens.NONE:
        raise Forbidden(
            "Personal tokens don't reach this. Sign in as a person to use it.",
            code="token_not_allowed",
        )
    if taken is Tokens.UNBOUND and grant.project_id is not None:
        raise Forbidden(
            "This token is for one project and does not reach this. Use a token without a project.",
            code="token_not_allowed",
        )
    if method not in SAFE_METHODS and not grant.may_write:
        raise Forbidden(
            'This token may only read. Make one with the scope "write" to change things.',
            code="token_read_only",
        )
