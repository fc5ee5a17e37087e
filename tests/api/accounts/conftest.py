from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from apps.accounts import authentication
from apps.accounts.models import Role, User
from apps.accounts.passwords import Argon2Hasher
from tests.api.accounts.people import make


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any) -> Iterator[None]:
    monkeypatch.setattr(Argon2Hasher, "time_cost", 1)
    monkeypatch.setattr(Argon2Hasher, "memory_cost", 64)
    monkeypatch.setattr(Argon2Hasher, "parallelism", 1)
    settings.DATA_DIR = tmp_path
    settings.LOOPBACK = True
    settings.REGISTRATION = "open"
    settings.PUBLIC_URL = ""
    cache.clear()
    authentication.forget_all()
    yield
    authentication.forget_all()


@pytest.fixture
def root() -> User:
    return make("root@example.org", Role.SUPER_ADMIN)


@pytest.fixture
def client() -> APIClient:
    return APIClient()
