"""Everything below `projects/<id>/`: outsiders get a 404, roles that are too weak a 403.

A view never looks a row up by its id alone, but through `self.project`: ids are guessable, scoping is what
protects things. That goes for ids in a body as for those in the URL.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils.functional import cached_property
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from apps.accounts.authentication import caller
from apps.accounts.models import User
from apps.accounts.reach import Tokens
from apps.common.errors import Forbidden, NotFound
from apps.projects.memberships import Membership, Role, membership
from apps.projects.models import Project

__all__ = ["Membership", "ProjectScopedViewSet", "Role", "nothing_here", "require"]


def nothing_here() -> NotFound:
    return NotFound("There is nothing here that you may see.")


def require(held: Role, weakest: Role) -> None:
    if not held.allows(weakest):
        raise Forbidden("Only an admin of the project may do this.")


class ProjectScopedViewSet(ViewSet):
    """`roles` names the weakest role for every action; a contract test fails on one that is missing.

    So does it on a view without `tokens`, which says whether personal tokens reach it.
    """

    roles: ClassVar[dict[str, Role]]
    tokens: ClassVar[Tokens | dict[str, Tokens]] = Tokens.NONE

    @cached_property
    def user(self) -> User:
        return caller(self.request)

    @cached_property
    def membership(self) -> Membership:
        """Read once a request, by one query; as old as the request."""
        found = membership(self.user, self.kwargs["project_id"])
        if found is None:
            raise nothing_here()
        return found

    @property
    def project(self) -> Project:
        return self.membership.project

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action is None or self.action == "metadata":
            raise MethodNotAllowed(str(request.method))
        require(self.membership.role, self.roles[self.action])
