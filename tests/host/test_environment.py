from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from apps.host.environment import agent_environment, home_for
from apps.host.processes import INSTALL_DIR

PERSON = ("bob", "bob@example.org")


def test_an_agent_gets_what_is_listed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    venv = tmp_path / "venv"
    server = {
        "PATH": f"{venv}/bin:/usr/bin:relative::/bin:{Path(sys.prefix, 'bin')}",
        "VIRTUAL_ENV": str(venv),
        "LC_TIME": "de_DE.UTF-8",
        "TZ": "Europe/Berlin",
        "HTTPS_PROXY": "http://proxy:3128",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HOME": "/home/server",
        **dict.fromkeys(
            ["KANBAN_SECRET_KEY", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "SSH_AUTH_SOCK"], "secret"
        ),
        **dict.fromkeys(["AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "BOARD_RUN"], "secret"),
    }
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    found = agent_environment(
        home=tmp_path,
        extra={"ANTHROPIC_API_KEY": "key", "KANBAN_X": "no", "PYTHONPATH": "no", "HOME": "no"},
        person=PERSON,
        marker="h:sess_001.1",
    )
    assert found == {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_TIME": "de_DE.UTF-8",
        "TERM": "dumb",
        "TZ": "Europe/Berlin",
        "HTTPS_PROXY": "http://proxy:3128",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HOME": str(tmp_path),
        "ANTHROPIC_API_KEY": "key",
        "BOARD_RUN": "h:sess_001.1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "bob",
        "GIT_AUTHOR_EMAIL": "bob@example.org",
        "GIT_COMMITTER_NAME": "bob",
        "GIT_COMMITTER_EMAIL": "bob@example.org",
    }


def test_a_person_whose_name_git_would_refuse_can_still_commit(tmp_path: Path) -> None:
    for person in (("", ""), ("<>", " "), ("a\n<b>", "x@y\0")):
        env = agent_environment(home=tmp_path, extra={}, person=person, marker="h:s_1.1")
        subprocess.run(["git", "var", "GIT_AUTHOR_IDENT"], env=env, check=True, capture_output=True)


def test_a_home_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    home = home_for(tmp_path / "data", "proj_001", "cred_001")
    (home / "session").write_text("x")
    home.chmod(0o755)
    again = home_for(tmp_path / "data", "proj_001", "cred_001")
    assert (again / "session").exists()
    assert stat.S_IMODE(again.stat().st_mode) == 0o700
    assert home_for(tmp_path / "data", "proj_002", "cred_001") != home
    for bad in ("..", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="not an id"):
            home_for(tmp_path, bad, "cred_001")


def test_the_host_package_needs_neither_django_nor_settings() -> None:
    names = sorted(file.stem for file in (INSTALL_DIR / "apps" / "host").glob("[a-z]*.py"))
    modules = [f"apps.host.{name}" for name in names if name != "apps"]
    code = f"import sys, {', '.join(modules)}; print([m for m in sys.modules if m == 'django'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=INSTALL_DIR,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
