"""What is left of a deleted project or key on the host's disk, and in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import User
from apps.agents import homes
from apps.common.ids import public_id
from apps.host.environment import home_for
from apps.projects.models import Project
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def data(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"


def home(data: Path, project: Project | int, key: str = "server") -> Path:
    pk = project if isinstance(project, int) else project.pk
    made = home_for(data, public_id("project", pk), key)
    (made / "login.json").write_text("{}")
    return made


def test_the_homes_of_a_deleted_project_go_and_its_agents_end_in_the_log(
    api: Any, data: Path, project: Project, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    other = factories.make_project(alice, name="Other")
    doomed, kept, strange = home(data, project), home(data, other), home(data, 987_654)
    session = factories.make_session(factories.make_card(project), state="running")
    caplog.set_level("INFO")
    api(alice).delete(f"/api/projects/{project.pk}")
    assert f"{public_id('session', session.pk)} of" in caplog.text
    assert "was running and ends" in caplog.text
    homes.remove_orphans("h1")
    assert not doomed.parent.exists()
    assert kept.is_dir()
    # This database never knew it.
    assert strange.is_dir()


def test_the_home_of_a_deleted_key_goes_once_no_agent_uses_it(
    api: Any, data: Path, project: Project, alice: User
) -> None:
    keys = [factories.make_credential(alice) for _ in range(2)]
    gone, kept = (home(data, project, public_id("credential", key.pk)) for key in keys)
    server = home(data, project)
    session = factories.make_session(factories.make_card(project), state="running", host_id="h1")
    api(alice).delete(f"/api/credentials/{keys[0].pk}")
    homes.remove_orphans("h1")
    assert gone.is_dir()
    session.state = "completed"
    session.save()
    homes.remove_orphans("another-host")
    assert gone.is_dir()
    homes.remove_orphans("h1")
    assert not gone.exists()
    assert kept.is_dir()
    assert server.is_dir()
