"""`If-None-Match` for what a project's version covers, beside what serves for everything."""

from __future__ import annotations

from apps.common.conditional import by_body, by_content, is_current, json_response, not_modified
from apps.projects.memberships import Membership

__all__ = ["by_body", "by_content", "etag_of", "is_current", "json_response", "not_modified"]


def etag_of(membership: Membership, *more: object) -> str:
    """Changes with the project's events and what the person has read; `more` tells answers apart."""
    parts = [membership.at.epoch, membership.at.seq, membership.read_version, *more]
    return f'"{"-".join(str(part) for part in parts)}"'
