"""Accounts made without the API, and questions asked in their name."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

from apps.accounts import tokens
from apps.accounts.models import Role, User

PASSWORD = "correct horse"


def make(email: str, role: str = Role.USER, **fields: Any) -> User:
    fields.setdefault("display_name", email.partition("@")[0])
    return User.objects.create_user(email, PASSWORD, role=role, **fields)


def signed_in(token: str | User) -> APIClient:
    if isinstance(token, User):
        token = tokens.issue(token)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def post(client: APIClient, path: str, **body: Any) -> Any:
    return client.post(f"/api/{path}", body, format="json")


def error(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["message"]
    return str(body["error"]["code"])
