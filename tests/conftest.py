"""The suite's own surroundings: nothing of the developer's settings or data is read or written.

This must be the first to import Django: settings are read from the environment once, when imported. With
`KANBAN_TEST_ON=servers` the database and Redis are those of `KANBAN_TEST_DATABASE_URL` and
`KANBAN_TEST_REDIS_URL`; meant for `-m both_databases`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DATA_DIR = Path(tempfile.mkdtemp(prefix="kanban-test-")).resolve()


def _leave(made_by: int) -> None:
    # A forked child inherits the promise to clean up; only who made the directory keeps it.
    if os.getpid() == made_by:
        shutil.rmtree(DATA_DIR, ignore_errors=True)


atexit.register(_leave, os.getpid())

# A shell's background job ignores SIGINT, and so would every server that a test starts and stops with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Keys of the developer's own would start real agents.
for _name in list(os.environ):
    if _name.startswith(("ANTHROPIC_", "OPENAI_", "OPENROUTER_", "GEMINI_", "GOOGLE_GEMINI_")):
        del os.environ[_name]
for _name in [name for name in os.environ if name.startswith("KANBAN_")]:
    if not _name.startswith("KANBAN_TEST_"):
        del os.environ[_name]
os.environ["KANBAN_DATA_DIR"] = str(DATA_DIR)
os.environ["KANBAN_FS_ROOTS"] = os.path.realpath(tempfile.gettempdir())
if os.environ.get("KANBAN_TEST_ON") == "servers":
    for _name in ("DATABASE_URL", "REDIS_URL"):
        if value := os.environ.get(f"KANBAN_TEST_{_name}"):
            os.environ[f"KANBAN_{_name}"] = value
os.environ["DJANGO_SETTINGS_MODULE"] = "kanban_agents.settings"

import django  # noqa: E402

django.setup()

import pytest  # noqa: E402

from apps.accounts import authentication, personal_tokens  # noqa: E402
from apps.accounts.models import Role, User  # noqa: E402
from apps.accounts.passwords import Argon2Hasher  # noqa: E402
from apps.cards import bodies  # noqa: E402
from apps.projects import counts  # noqa: E402
from apps.projects.models import Project  # noqa: E402
from tests import factories  # noqa: E402
from tests.client import Api  # noqa: E402

# Strong hashes are what makes a sign-in slow on purpose.
Argon2Hasher.time_cost = 1
Argon2Hasher.memory_cost = 64
Argon2Hasher.parallelism = 1


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Ids begin again with every test, so what a process remembers by id must not outlive one."""
    authentication.forget_all()
    personal_tokens.forget_uses()
    bodies.forget_all()
    counts.forget_all()
    yield
    authentication.forget_all()


@pytest.fixture
def alice(db: None) -> User:
    """Admin of the project."""
    return factories.make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Member of the project."""
    return factories.make_user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """Outsider."""
    return factories.make_user("charlie")


@pytest.fixture
def root(db: None) -> User:
    return factories.make_user("root", role=Role.SUPER_ADMIN)


@pytest.fixture
def project(alice: User, bob: User, repository: Path) -> Project:
    """Alice's, with Bob as a member and a board as every project begins with."""
    project = factories.make_project(alice, path=repository)
    factories.add_member(project, bob)
    return project


@pytest.fixture
def api() -> Callable[[User | str | None], Api]:
    """A client that speaks for somebody: `api(alice).post("/api/projects", {...}, 201)`."""
    return Api


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A real repository with one commit."""
    folder = tmp_path.resolve() / "garden"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "Alice")
    git(folder, "config", "user.email", "alice@example.org")
    (folder / "README.md").write_text("# Garden\n")
    (folder / "src").mkdir()
    (folder / "src" / "main.py").write_text("print('green')\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Plant")
    return folder


@pytest.fixture
def run_git() -> Callable[..., Any]:
    return git
