from __future__ import annotations

import pytest

from kanban_agents.asgi import is_slow


@pytest.mark.parametrize(
    ("method", "path", "slow"),
    [
        ("GET", "/api/projects/1/cards/2/diff", True),
        ("GET", "/api/projects/1/files", True),
        ("POST", "/api/credentials/1/verify", True),
        ("GET", "/api/credentials/oauth/callback", True),
        ("GET", "/api/projects/1/settings", True),
        ("PUT", "/api/user/settings", False),
        ("DELETE", "/api/projects/1/cards/2", True),
        ("PATCH", "/api/projects/1/cards/2", False),
        ("DELETE", "/api/projects/1/cards/2/agent/messages/3", False),
        ("DELETE", "/api/projects/1", True),
        ("PATCH", "/api/projects/1", False),
        ("DELETE", "/api/projects/1/boards/2", True),
        ("PATCH", "/api/projects/1/boards/2", False),
        ("DELETE", "/api/projects/1/columns/2", False),
        ("DELETE", "/api/projects/1/members/2", False),
        ("POST", "/api/projects", True),
        ("GET", "/api/projects", False),
        ("GET", "/api/filesystem/browse", True),
        ("GET", "/api/filesystem/read", True),
        ("GET", "/api/projects/1/cards", False),
        ("POST", "/api/projects/1/cards/2/attachments", True),
        ("GET", "/api/projects/1/cards/2/attachments", False),
        ("POST", "/api/projects/import", True),
    ],
)
def test_what_may_take_over_a_second_has_threads_of_its_own(
    method: str, path: str, slow: bool
) -> None:
    assert is_slow(method, path) is slow
