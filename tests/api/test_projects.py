from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import User
from apps.cards.models import Worktree
from apps.events.models import StoredEvent
from apps.organizations.models import OrganizationMember
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db

KEYS = {
    *("id", "name", "path", "organizationId", "ownerId", "role", "credentialId", "position"),
    *("lastOpenedAt", "unreadCount", "activeAgentCount", "isGitRepo", "createdAt", "updatedAt"),
}


def test_a_new_project_has_a_board_with_three_columns(
    api: Any, alice: User, repository: Path
) -> None:
    made = api(alice).post("/api/projects", {"name": " Garden ", "path": str(repository)})
    assert made.keys() >= KEYS
    assert made["name"] == "Garden"
    assert made["path"] == str(repository)
    assert made["role"] == "admin"
    assert made["isGitRepo"] is True
    boards = api(alice).get(f"/api/projects/{made['id']}/boards")
    assert [(board["name"], board["position"]) for board in boards] == [("Main Board", 0)]
    columns = api(alice).get(f"/api/projects/{made['id']}/columns")
    assert [(each["name"], each["columnType"], each["position"]) for each in columns] == [
        ("Backlog", "backlog", 0),
        ("In Progress", "active", 1),
        ("Done", "done", 2),
    ]


def test_a_directory_without_git_is_a_project_too(api: Any, alice: User, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    made = api(alice).post("/api/projects", {"name": "Plain", "path": str(plain)})
    assert made["isGitRepo"] is False
    assert api(alice).get(f"/api/projects/{made['id']}/files") == []


def test_a_repository_without_commits_is_accepted(
    api: Any, alice: User, tmp_path: Path, run_git: Any
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    run_git(folder, "init", "--quiet")
    made = api(alice).post("/api/projects", {"name": "Empty", "path": str(folder)})
    assert made["isGitRepo"] is True


def test_every_bad_path_has_its_own_sentence(
    api: Any, alice: User, tmp_path: Path, run_git: Any
) -> None:
    file, bare = tmp_path / "file", tmp_path / "bare"
    file.write_text("")
    bare.mkdir()
    run_git(bare, "init", "--quiet", "--bare")
    paths = {
        "relative/path": "path_relative",
        "/etc": "path_outside",
        str(tmp_path / "missing"): "path_missing",
        str(file): "path_not_a_directory",
        str(bare): "path_bare",
        f"{tmp_path}/\0": "invalid",
        "": "invalid",
        "/" + "x" * 5_000: "invalid",
    }
    said = set()
    for path, code in paths.items():
        error = api(alice).post("/api/projects", {"name": "x", "path": path}, 400)
        assert error["code"] == code, path
        said.add(error["message"])
    assert len(said) == len(paths)
    assert not Project.objects.exists()


def test_a_symlink_out_of_the_roots_is_refused(api: Any, alice: User, tmp_path: Path) -> None:
    (tmp_path / "way-out").symlink_to("/etc")
    error = api(alice).post("/api/projects", {"name": "x", "path": str(tmp_path / "way-out")}, 400)
    assert error["code"] == "path_outside"


@pytest.mark.parametrize("where", [".", "src", ".."])
def test_a_path_on_below_or_above_somebody_elses_project_is_taken(
    api: Any, project: Project, charlie: User, bob: User, root: User, where: str
) -> None:
    path = os.path.realpath(os.path.join(project.path, where))  # noqa: PTH118
    for person in (charlie, bob):
        error = api(person).post("/api/projects", {"name": "Mine", "path": path}, 403)
        assert error["code"] == "path_taken"
    api(root).post("/api/projects", {"name": "Root's", "path": path})


def test_the_same_path_twice_is_fine_for_its_admin(api: Any, project: Project, alice: User) -> None:
    api(alice).post("/api/projects", {"name": "Again", "path": project.path})


def test_the_list_holds_what_a_person_reaches(
    api: Any, project: Project, alice: User, bob: User, charlie: User, root: User
) -> None:
    for person, role in ((alice, "admin"), (bob, "member"), (root, "admin")):
        (found,) = api(person).get("/api/projects")
        assert found.keys() >= KEYS
        assert found["role"] == role
        assert api(person).get(f"/api/projects/{found['id']}") == found
    assert api(charlie).get("/api/projects") == []
    api(charlie).get(f"/api/projects/{project.pk}", 404)
    api(None).get("/api/projects", 401)
    api(None).post("/api/projects", {"name": "x", "path": "/tmp"}, 401)


def test_an_unchanged_project_is_not_sent_again(api: Any, project: Project, bob: User) -> None:
    client = api(bob)
    for path in ("/api/projects", f"/api/projects/{project.pk}"):
        client.get(path)
        etag = client.response["ETag"]
        assert client.get(path, 304, If_None_Match=etag) is None
        factories.make_card(project)
        client.get(path, 200, If_None_Match=etag)


def test_an_organization_opens_its_projects(
    api: Any, alice: User, bob: User, charlie: User, repository: Path
) -> None:
    organization = factories.make_organization(
        (alice, OrganizationMember.Role.MEMBER), (bob, OrganizationMember.Role.ADMIN)
    )
    wire = f"org_{organization.pk:03d}"
    body = {"name": "Shared", "path": str(repository), "organizationId": wire}
    made = api(alice).post("/api/projects", body)
    assert made["organizationId"] == wire
    assert api(bob).get(f"/api/projects/{made['id']}")["role"] == "admin"
    api(charlie).get(f"/api/projects/{made['id']}", 404)
    assert [p["id"] for p in api(bob).get(f"/api/projects?organizationId={wire}")] == [made["id"]]
    assert api(bob).get(f"/api/projects?organizationId={organization.pk + 1}") == []
    api(bob).get("/api/projects?organizationId=nonsense", 400)
    for unknown in (organization.pk + 1, "org_999999999999999999"):
        api(alice).post("/api/projects", {**body, "organizationId": unknown}, 404)


def test_an_organization_the_caller_is_not_in_is_a_404(
    api: Any, alice: User, bob: User, repository: Path
) -> None:
    organization = factories.make_organization((bob, OrganizationMember.Role.ADMIN))
    body = {"name": "x", "path": str(repository), "organizationId": organization.pk}
    api(alice).post("/api/projects", body, 404)
    assert not Project.objects.exists()


def test_settings_are_for_members_but_name_agent_and_mode_for_admins(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    url = f"/api/projects/{project.pk}"
    settings = {
        "model": "m-1",
        "baseBranch": "release/1.x",
        "branchTemplate": "kanban/{cardId}",
        "worktree": False,
        "maxParallelAgents": 2,
    }
    changed = api(bob).patch(url, settings)
    assert {key: changed[key] for key in settings} == settings
    for key, value in {"name": "New", "agent": "builtin", "permissionMode": "unattended"}.items():
        api(bob).patch(url, {key: value}, 403)
        assert api(alice).patch(url, {key: value})[key] == value
    assert api(bob).patch(url, {"model": None, "maxParallelAgents": None})["model"] is None
    assert api(bob).patch(url, {})["name"] == "New"


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": "x" * 201},
        {"name": "a\0b"},
        {"worktree": "yes"},
        {"maxParallelAgents": 0},
        {"maxParallelAgents": 1.5},
        {"maxParallelAgents": True},
        {"maxParallelAgents": 10**20},
        {"permissionMode": "root"},
        {"permissionMode": ["ask"]},
        {"baseBranch": "--upload-pack=x"},
        {"baseBranch": "a..b"},
        {"baseBranch": "a b"},
        {"branchTemplate": "same-for-all"},
        {"branchTemplate": "-{cardId}"},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    api: Any, project: Project, alice: User, body: Any
) -> None:
    before = api(alice).get(f"/api/projects/{project.pk}")
    assert api(alice).patch(f"/api/projects/{project.pk}", body, 400)["code"] == "invalid"
    assert api(alice).get(f"/api/projects/{project.pk}") == before


@pytest.mark.django_db(transaction=True)
def test_an_agent_that_is_not_there_is_refused_with_those_that_are(
    api: Any, project: Project, alice: User
) -> None:
    url = f"/api/projects/{project.pk}"
    refused = api(alice).patch(url, {"agent": "claud", "name": "New"}, 400)
    assert refused["code"] == "invalid"
    assert "“claud”" in refused["message"]
    assert "there are: builtin" in refused["message"]
    assert api(alice).get(url)["name"] == "Garden"
    assert api(alice).patch(url, {"agent": "builtin"})["agent"] == "builtin"
    assert api(alice).patch(url, {"agent": None})["agent"] is None


def test_files_are_the_tracked_ones_in_order(
    api: Any, project: Project, bob: User, charlie: User, repository: Path
) -> None:
    (repository / "new.txt").write_text("untracked")
    assert api(bob).get(f"/api/projects/{project.pk}/files") == ["README.md", "src/main.py"]
    api(charlie).get(f"/api/projects/{project.pk}/files", 404)
    api(None).get(f"/api/projects/{project.pk}/files", 401)


def test_files_of_a_directory_that_went_away_are_a_conflict(
    api: Any, project: Project, bob: User, repository: Path
) -> None:
    repository.rename(repository.with_name("elsewhere"))
    error = api(bob).get(f"/api/projects/{project.pk}/files", 409)
    assert error["message"]


def test_only_an_admin_sets_a_credential_and_only_one_of_their_own(
    api: Any, project: Project, alice: User, bob: User, root: User, charlie: User
) -> None:
    url = f"/api/projects/{project.pk}/credential"
    mine, bobs = factories.make_credential(alice), factories.make_credential(bob)
    assert api(alice).put(url, {"credentialId": mine.pk})["credentialId"] == f"cred_{mine.pk:03d}"
    api(bob).put(url, {"credentialId": bobs.pk}, 403)
    api(alice).put(url, {"credentialId": bobs.pk}, 404)
    api(alice).put(url, {"credentialId": 10**17}, 404)
    api(alice).put(url, {"credentialId": "9" * 20}, 400)
    api(alice).put(url, {}, 400)
    api(charlie).put(url, {"credentialId": mine.pk}, 404)
    api(root).put(url, {"credentialId": bobs.pk})
    assert api(alice).put(url, {"credentialId": None})["credentialId"] is None


def test_a_deleted_credential_leaves_its_project_and_says_so(
    api: Any, project: Project, alice: User
) -> None:
    credential = factories.make_credential(alice)
    api(alice).put(f"/api/projects/{project.pk}/credential", {"credentialId": credential.pk})
    api(alice).delete(f"/api/credentials/{credential.pk}")
    assert api(alice).get(f"/api/projects/{project.pk}")["credentialId"] is None
    assert StoredEvent.objects.filter(stream=project.pk, type="project.updated").count() == 2


def test_only_an_admin_deletes_a_project_and_its_story_stays(
    api: Any, project: Project, alice: User, bob: User, charlie: User, repository: Path
) -> None:
    card = factories.make_card(project)
    Worktree.objects.create(
        card_id=card.pk,
        project_id=project.pk,
        host_id="h",
        repository=project.path,
        path="/nowhere",
        state=Worktree.State.READY,
    )
    url = f"/api/projects/{project.pk}"
    api(charlie).delete(url, 404)
    api(bob).delete(url, 403)
    api(alice).delete(url)
    api(alice).get(url, 404)
    api(alice).delete(url, 404)
    assert (repository / "README.md").exists()
    last = StoredEvent.objects.filter(stream=project.pk).order_by("-seq")[0]
    assert last.type == "project.deleted"
    assert last.actor_id == alice.pk
    (patch,) = json.loads(last.data)["patches"]
    assert re.fullmatch(rf"card_{card.pk:03d}-\d{{8}}T[\d.]+Z\.patch", patch)


def test_unread_and_active_cards_are_counted_per_person(
    api: Any, project: Project, alice: User, bob: User
) -> None:
    from apps.cards import services

    first = factories.make_card(project)
    factories.make_card(project)
    services.set_agent_status(first.pk, "running", noted=False)
    assert api(alice).get("/api/projects")[0]["unreadCount"] == 0
    mine = api(bob).get("/api/projects")[0]
    assert (mine["unreadCount"], mine["activeAgentCount"]) == (2, 1)
    api(bob).post(f"/api/projects/{project.pk}/cards/{first.pk}/view", status=204)
    assert api(bob).get("/api/projects")[0]["unreadCount"] == 1
