"""The server's own key: made once, the same for all, never a weak one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kanban_agents.secrets import BadSecret, derive, read_or_create


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: read_or_create(tmp_path / "data" / "secret_key"), range(32)))
    assert len(made) == 1
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["secret_key"]


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret_key").write_text(content)
    with pytest.raises(BadSecret, match="no usable key"):
        read_or_create(tmp_path / "secret_key")


def test_keys_for_different_purposes_have_nothing_in_common() -> None:
    assert derive("s" * 40, "jwt") != derive("s" * 40, "credentials")
