"""What global roles allow; roles in a project or organization are those domains' business."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from apps.accounts.models import Role


class IsSuperAdmin(BasePermission):
    message = "Only a super admin may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.user.is_authenticated and request.user.role == Role.SUPER_ADMIN


class IsAdmin(BasePermission):
    message = "Only an admin may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.user.is_authenticated and request.user.role in (
            Role.SUPER_ADMIN,
            Role.ADMIN,
        )


class ChangedBySuperAdmin(IsSuperAdmin):
    """Whoever is signed in may read it."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in SAFE_METHODS:
            return bool(request.user.is_authenticated)
        return super().has_permission(request, view)


class ChangedByAdmin(IsAdmin):
    """Whoever is signed in may read it."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in SAFE_METHODS:
            return bool(request.user.is_authenticated)
        return super().has_permission(request, view)
