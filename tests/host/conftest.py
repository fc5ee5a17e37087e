from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.host import worktrees
from apps.host.sweeping import sweep
from apps.host.worktrees import Worktree


class Repository:
    """A real repository, driven by plain git with nobody's settings but its own."""

    def __init__(self, path: Path, *, empty: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.identify()
        if not empty:
            self.write("README.md", "hello\n")
            self.commit("first")

    def identify(self) -> None:
        self.git("config", "user.name", "alice")
        self.git("config", "user.email", "alice@example.org")

    def git(self, *arguments: str, cwd: Path | None = None, ok: bool = True) -> str:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        done = subprocess.run(
            ["git", "-c", "core.quotePath=false", "-c", "protocol.file.allow=always", *arguments],
            cwd=cwd or self.path,
            env=env,
            capture_output=True,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="replace")

    def write(self, name: str, text: str | bytes, *, at: Path | None = None) -> Path:
        file = (at or self.path) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def commit(self, message: str, *, at: Path | None = None) -> str:
        self.git("add", "-A", cwd=at)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=at)
        return self.git("rev-parse", "HEAD", cwd=at).strip()


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def worktree(repo: Repository, data_dir: Path) -> Worktree:
    return worktrees.create(
        repo.path,
        data_dir / "worktrees" / "card_001",
        branch="card/card_001",
        base="main",
        owns_branch=False,
        data_dir=data_dir,
    )


ODD_NAMES = [
    "a b.txt",
    "ünï.txt",
    'qu"ote',
    "tab\tname",
    "new\nline",
    "-dash",
    ":(top)x",
    "*",
    "x=y",
]


def odd_names(repo: Repository, at: Path) -> None:
    for name in ODD_NAMES:
        repo.write(name, f"{name}\n", at=at)


@pytest.fixture
def slow_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a repository whose packs stop coming in the middle."""
    remote = Repository(tmp_path / "remote")
    for number in range(200):
        remote.write(f"{number}.bin", os.urandom(5_000))
    remote.commit("much")
    programs = tmp_path / "programs"
    programs.mkdir()
    hook = programs / "slow"
    hook.write_text('#!/bin/sh\n"$@" | { head -c 500000; sleep 60; }\n')
    ssh = programs / "ssh"
    ssh.write_text(
        "#!/bin/sh\nfor command; do :; done\n"
        "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=uploadpack.packObjectsHook"
        f" GIT_CONFIG_VALUE_0={hook}\n"
        'exec sh -c "$command"\n'
    )
    for each in (hook, ssh):
        each.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return f"ssh://localhost{remote.path}"


@pytest.fixture
def host() -> Iterator[str]:
    """A name by which processes are marked; none of them is left."""
    name = f"test{os.urandom(6).hex()}"
    yield name
    sweep(f"{name}:")
