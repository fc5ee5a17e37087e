"""The server's own key: made once, the same for all, never a weak one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.runs.masking import Secrets
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


def test_what_may_begin_a_secret_is_held_back_however_many_there_are() -> None:
    values = ["aab-secret-one", "ab-secret-two!", 'quo"ted\\secret', "zz-secret-three"]
    secrets = Secrets([*values, "short"])
    for value in values:
        for length in range(1, len(value)):
            said = f"it is a a{value[:length]}"
            assert secrets.held_back(said) >= length, said
        assert secrets.mask(f"<{value}>") == "<****>"
        assert secrets.mask(json.dumps({"a": value})) == '{"a": "****"}'
    assert secrets.held_back("aaab") == 3
    for said in ("", "a line\n", "zz-", "zy", "short"):
        assert secrets.held_back(said) == (3 if said == "zz-" else 0), said
    assert secrets.mask("short") == "short"
    assert Secrets([]).held_back("anything") == 0
    assert Secrets([]).mask("anything") == "anything"


def test_a_made_key_begins_as_nothing_ends_that_an_agent_says(tmp_path: Path) -> None:
    """Else the last letters of one server in thirty's agents would wait for what comes next."""
    assert read_or_create(tmp_path / "secret_key").startswith("~")
