from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from apps.accounts.models import User
from apps.cards import services
from apps.cards.models import Card, Worktree
from apps.events.models import StoredEvent
from apps.host.disk import host_id
from apps.projects.models import Project
from tests import factories

pytestmark = pytest.mark.django_db

SUMMARY = {
    *("id", "title", "columnId", "position", "hasActiveAgent", "projectId", "boardId", "labels"),
    *("autoMode", "pendingApproval", "deferred", "agentStatus", "credentialId", "branch"),
    *("completedAt", "createdBy", "createdAt", "updatedAt", "unread", "blockedBy"),
}


@pytest.fixture
def url(project: Project) -> str:
    return f"/api/projects/{project.pk}/cards"


@pytest.fixture
def card(project: Project) -> Card:
    return factories.make_card(project)


def order(api: Any, url: str, user: User) -> list[tuple[str, str, int]]:
    return [(each["title"], each["columnId"], each["position"]) for each in api(user).get(url)]


def test_a_new_card_lands_last_in_the_first_backlog(
    api: Any, project: Project, url: str, bob: User
) -> None:
    factories.make_card(project, title="First")
    made = api(bob).post(url, {"title": " Second ", "prompt": " do\n", "labels": [" a", "a", "b"]})
    assert made.keys() >= SUMMARY | {"prompt"}
    assert (made["title"], made["prompt"], made["position"]) == ("Second", " do\n", 1)
    assert made["labels"] == ["a", "b"]
    assert made["columnId"] == f"col_{factories.column(project).pk:03d}"
    assert made["createdBy"] == f"user_{bob.pk:03d}"
    assert (made["unread"], made["hasActiveAgent"], made["agentStatus"]) == (False, False, None)
    listed = api(bob).get(url)
    assert [each["title"] for each in listed] == ["First", "Second"]
    assert listed[1].keys() == made.keys() - {"prompt"}
    assert api(bob).get(f"{url}/{made['id']}") == made


def test_the_list_follows_boards_columns_and_positions(
    api: Any, project: Project, url: str, alice: User
) -> None:
    done, backlog = factories.column(project, "done"), factories.column(project)
    factories.make_card(project, title="3", column=done)
    factories.make_card(project, title="1", column=backlog)
    factories.make_card(project, title="2", column=backlog)
    board = api(alice).post(f"/api/projects/{project.pk}/boards", {"name": "Other"})
    api(alice).post(url, {"title": "4", "boardId": board["id"]})
    assert [each["title"] for each in api(alice).get(url)] == ["1", "2", "3", "4"]
    assert [each["title"] for each in api(alice).get(f"{url}?boardId={board['id']}")] == ["4"]
    assert api(alice).get(f"{url}?boardId=board_999") == []
    api(alice).get(f"{url}?boardId=nonsense", 400)


def test_an_unchanged_list_is_not_sent_again(
    api: Any, project: Project, url: str, card: Card, alice: User, bob: User
) -> None:
    client = api(bob)
    first = client.get(url)
    etag = client.response["ETag"]
    assert client.get(url, 304, If_None_Match=etag) is None
    assert client.get(url, 304, If_None_Match=f'"x", W/{etag}') is None
    assert client.get(url) == first
    # What Bob reads changes his list, not Alice's.
    reader = api(alice)
    reader.get(url)
    of_alice = reader.response["ETag"]
    client.post(f"{url}/{card.pk}/view", status=204)
    client.get(url, 200, If_None_Match=etag)
    reader.get(url, 304, If_None_Match=of_alice)
    services.set_agent_status(card.pk, "running", noted=False)
    assert reader.get(url, 200, If_None_Match=of_alice)[0]["hasActiveAgent"] is True


def test_unread_is_each_persons_own(api: Any, url: str, card: Card, alice: User, bob: User) -> None:
    def unread(user: User) -> bool:
        (listed,) = api(user).get(url)
        assert api(user).get(f"{url}/{card.pk}")["unread"] is listed["unread"]
        return bool(listed["unread"])

    assert (unread(alice), unread(bob)) == (False, True)
    api(bob).post(f"{url}/{card.pk}/view", status=204)
    api(bob).post(f"{url}/{card.pk}/view", {}, status=204)
    assert unread(bob) is False
    api(bob).patch(f"{url}/{card.pk}", {"title": "Changed"})
    assert (unread(alice), unread(bob)) == (True, False)
    api(alice).post(f"{url}/{card.pk}/view", status=204)
    services.set_agent_status(card.pk, "completed", noted=True)
    assert (unread(alice), unread(bob)) == (True, True)


def test_a_member_edits_a_card(api: Any, url: str, card: Card, bob: User) -> None:
    change = {"title": "New", "prompt": "p", "labels": ["x"], "permissionMode": "unattended"}
    changed = api(bob).patch(f"{url}/{card.pk}", change)
    assert {key: changed[key] for key in change} == change
    before = StoredEvent.objects.count()
    assert api(bob).patch(f"{url}/{card.pk}", {**change, "unknown": 1}) == changed
    assert api(bob).patch(f"{url}/{card.pk}", {}) == changed
    assert StoredEvent.objects.count() == before
    cleared = api(bob).patch(f"{url}/{card.pk}", {"prompt": None, "permissionMode": None})
    assert (cleared["prompt"], cleared["permissionMode"]) == ("", None)


@pytest.mark.parametrize(
    "change",
    [
        {"title": ""},
        {"title": None},
        {"title": 5},
        {"title": {"a": 1}},
        {"title": "x" * 501},
        {"title": "a\0b"},
        {"prompt": "x" * 100_001},
        {"prompt": ["x"]},
        {"labels": None},
        {"labels": "x"},
        {"labels": {"a": "b"}},
        {"labels": [1]},
        {"labels": [""]},
        {"labels": [str(n) for n in range(21)]},
        {"labels": ["x" * 101]},
        {"permissionMode": "never"},
        {"permissionMode": ["ask"]},
        {"blockedBy": "card_001"},
        {"blockedBy": ["card_" + "9" * 20]},
        {"blockedBy": [None]},
        {"blockedBy": [1.5]},
        {"blockedBy": None},
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    api: Any, url: str, card: Card, alice: User, change: Any
) -> None:
    assert api(alice).patch(f"{url}/{card.pk}", change, 400)["code"] == "invalid"
    if "title" in change:
        api(alice).post(url, change, 400)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"title": NaN}', b"null"])
def test_a_body_that_is_no_json_object_is_refused(
    api: Any, url: str, card: Card, alice: User, body: bytes
) -> None:
    for method, path in (("POST", url), ("PATCH", f"{url}/{card.pk}")):
        assert api(alice).request(method, path, body, 400)["code"] == "invalid"


def test_moving_shifts_the_others_and_clamps(
    api: Any, project: Project, url: str, alice: User
) -> None:
    backlog, done = factories.column(project), factories.column(project, "done")
    cards = [factories.make_card(project, title=str(n)) for n in range(4)]

    def move(card: Card, to: Any, **more: Any) -> Any:
        return api(alice).patch(f"{url}/{card.pk}/move", {"columnId": to.pk, **more})

    def titles(column: Any) -> list[str]:
        rows = Card.objects.filter(column=column).order_by("position")
        assert [row.position for row in rows] == list(range(len(rows)))
        return [row.title for row in rows]

    assert move(cards[0], done)["position"] == 0
    assert titles(backlog) == ["1", "2", "3"]
    assert move(cards[3], done, position=0)["position"] == 0
    assert titles(done) == ["3", "0"]
    assert move(cards[1], done, position=1)["position"] == 1
    assert titles(done) == ["3", "1", "0"]
    assert move(cards[3], done, position=99)["position"] == 2
    assert titles(done) == ["1", "0", "3"]
    assert move(cards[3], done, position=-5)["position"] == 0
    assert move(cards[3], done)["position"] == 2
    assert titles(done) == ["1", "0", "3"]
    assert move(cards[0], done, position=1)["position"] == 1
    assert move(cards[2], done, position=10**18)["position"] == 3
    assert titles(backlog) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"columnId": None}, 400),
        ({"columnId": "nonsense"}, 400),
        ({"columnId": "board_001"}, 400),
        ({"columnId": "9" * 20}, 400),
        ({"columnId": "9" * 18}, 404),
        ({"columnId": 1.5}, 400),
        ({"columnId": 1, "position": "1"}, 400),
        ({"columnId": 1, "position": 1.5}, 400),
        ({"columnId": 1, "position": True}, 400),
        ({"columnId": 1, "defer": "yes"}, 400),
    ],
)
def test_a_move_that_makes_no_sense_is_refused(
    api: Any, url: str, card: Card, alice: User, body: Any, status: int
) -> None:
    api(alice).patch(f"{url}/{card.pk}/move", body, status)


def test_moving_to_a_foreign_column_is_a_404(api: Any, url: str, card: Card, alice: User) -> None:
    other = factories.make_project(alice, name="Other")
    column = factories.column(other)
    api(alice).patch(f"{url}/{card.pk}/move", {"columnId": column.pk}, 404)
    api(alice).patch(f"/api/projects/{other.pk}/cards/{card.pk}/move", {"columnId": column.pk}, 404)


def test_a_move_to_another_board_of_the_project_is_fine(
    api: Any, project: Project, url: str, card: Card, alice: User
) -> None:
    board = api(alice).post(f"/api/projects/{project.pk}/boards", {"name": "Other"})
    column = api(alice).get(f"/api/projects/{project.pk}/columns?boardId={board['id']}")[0]
    moved = api(alice).patch(f"{url}/{card.pk}/move", {"columnId": column["id"]})
    assert moved["boardId"] == board["id"]


def test_entering_done_completes_and_leaving_takes_it_back(
    api: Any, project: Project, url: str, card: Card, alice: User
) -> None:
    place = f"{url}/{card.pk}/move"
    done, backlog = factories.column(project, "done"), factories.column(project)
    first = api(alice).patch(place, {"columnId": done.pk})["completedAt"]
    assert first is not None
    board = factories.first_board(project)
    archive = api(alice).post(
        f"/api/projects/{project.pk}/columns",
        {"name": "Archive", "columnType": "archive", "boardId": board.pk},
    )
    assert api(alice).patch(place, {"columnId": archive["id"]})["completedAt"] == first
    assert api(alice).patch(place, {"columnId": backlog.pk})["completedAt"] is None


def test_a_card_put_off_says_why_until_it_leaves(
    api: Any, project: Project, url: str, card: Card, alice: User
) -> None:
    active, backlog = factories.column(project, "active"), factories.column(project)
    place = f"{url}/{card.pk}/move"
    api(alice).patch(place, {"columnId": active.pk, "defer": True})
    found = api(alice).get(f"{url}/{card.pk}")
    assert (found["deferred"], found["deferredReason"]["code"]) == (True, "deferred")
    assert found["hasActiveAgent"] is False
    api(alice).patch(place, {"columnId": backlog.pk})
    found = api(alice).get(f"{url}/{card.pk}")
    assert (found["deferred"], found["deferredReason"]) == (False, None)
    assert Card.objects.get().defer is False


def test_completing_moves_to_done_and_is_repeatable(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    api(bob).post(f"{url}/{card.pk}/complete", status=204)
    found = api(bob).get(f"{url}/{card.pk}")
    assert found["columnId"] == f"col_{factories.column(project, 'done').pk:03d}"
    assert found["completedAt"] is not None
    before = StoredEvent.objects.count()
    api(bob).post(f"{url}/{card.pk}/complete", {}, status=204)
    assert StoredEvent.objects.count() == before


def test_completing_on_a_board_without_done_stays_where_it_is(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    done = factories.column(project, "done")
    api(bob).delete(f"/api/projects/{project.pk}/columns/{done.pk}")
    api(bob).post(f"{url}/{card.pk}/complete", status=204)
    found = api(bob).get(f"{url}/{card.pk}")
    assert found["columnId"] == f"col_{card.column_id:03d}"
    assert found["completedAt"] is not None


def test_activating_a_done_card_is_a_conflict(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    api(bob).post(f"{url}/{card.pk}/complete", status=204)
    assert api(bob).post(f"{url}/{card.pk}/activate", status=409)["code"] == "card_is_complete"


def test_activating_without_an_active_column_is_a_conflict(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    active = factories.column(project, "active")
    api(bob).delete(f"/api/projects/{project.pk}/columns/{active.pk}")
    assert api(bob).post(f"{url}/{card.pk}/activate", status=409)["code"] == "no_active_column"


def test_a_card_that_stays_deferred_says_why_and_where_it_stands(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    blocker = factories.make_card(project, title="Dig")
    api(bob).patch(f"{url}/{card.pk}", {"blockedBy": [blocker.pk]})
    error = api(bob).post(f"{url}/{card.pk}/activate", status=409)
    assert error["code"] == "blocked"
    assert "Dig" in error["message"]
    found = api(bob).get(f"{url}/{card.pk}")
    assert found["columnId"] == f"col_{factories.column(project, 'active').pk:03d}"
    assert found["deferredReason"]["code"] == "blocked"


def test_circles_of_blockers_are_refused(api: Any, project: Project, url: str, alice: User) -> None:
    a, b, c = (factories.make_card(project, title=name).pk for name in "abc")
    changed = api(alice).patch(f"{url}/{a}", {"blockedBy": [b, b, f"card_{b:03d}"]})
    assert changed["blockedBy"] == [f"card_{b:03d}"]
    api(alice).patch(f"{url}/{b}", {"blockedBy": [c]})
    for card, blocker in ((a, a), (b, a), (c, a)):
        api(alice).patch(f"{url}/{card}", {"blockedBy": [blocker]}, 400)
    stranger = factories.make_card(factories.make_project(alice, name="Other")).pk
    api(alice).patch(f"{url}/{c}", {"blockedBy": [stranger]}, 404)
    assert api(alice).patch(f"{url}/{a}", {"blockedBy": []})["blockedBy"] == []
    assert api(alice).patch(f"{url}/{c}", {"blockedBy": [a]})["blockedBy"] == [f"card_{a:03d}"]


def test_auto_mode_is_set_not_flipped(api: Any, url: str, card: Card, bob: User) -> None:
    place = f"{url}/{card.pk}/auto-mode"
    for enabled in (True, True, False):
        assert api(bob).patch(place, {"enabled": enabled})["autoMode"] is enabled
    for body in ({}, {"enabled": None}, {"enabled": "true"}, {"enabled": 1}):
        api(bob).patch(place, body, 400)


def test_auto_mode_moves_on_what_waits_for_approval(
    api: Any, project: Project, url: str, card: Card, bob: User
) -> None:
    services.set_agent_status(card.pk, None, noted=True, pending_approval=True)
    services.move_card(card, to=factories.column(project, "active"), by=None, defer=True)
    services.set_agent_status(card.pk, "completed", noted=True, pending_approval=True)
    moved = api(bob).patch(f"{url}/{card.pk}/auto-mode", {"enabled": True})
    assert moved["columnId"] == f"col_{factories.column(project, 'done').pk:03d}"
    assert moved["pendingApproval"] is False


def test_a_member_sets_a_credential_of_their_own(
    api: Any, url: str, card: Card, alice: User, bob: User, root: User
) -> None:
    place = f"{url}/{card.pk}/credential"
    mine, alices = factories.make_credential(bob), factories.make_credential(alice)
    assert api(bob).put(place, {"credentialId": mine.pk})["credentialId"] == f"cred_{mine.pk:03d}"
    api(bob).put(place, {"credentialId": alices.pk}, 404)
    api(bob).put(place, {}, 400)
    api(root).put(place, {"credentialId": alices.pk})
    assert api(bob).put(place, {"credentialId": None})["credentialId"] is None
    api(bob).put(place, {"credentialId": mine.pk})
    api(bob).delete(f"/api/credentials/{mine.pk}")
    assert api(bob).get(url)[0]["credentialId"] is None


def test_deleting_closes_the_gap(api: Any, project: Project, url: str, bob: User) -> None:
    cards = [factories.make_card(project, title=str(n)) for n in range(3)]
    api(bob).delete(f"{url}/{cards[1].pk}")
    api(bob).delete(f"{url}/{cards[1].pk}", 404)
    assert [(t, p) for t, _, p in order(api, url, bob)] == [("0", 0), ("2", 1)]


def test_deleting_under_a_working_agent_needs_force(
    api: Any, url: str, card: Card, bob: User
) -> None:
    services.set_agent_status(card.pk, "running", noted=False)
    assert api(bob).delete(f"{url}/{card.pk}", 409)["code"] == "agent_running"
    api(bob).delete(f"{url}/{card.pk}?force=maybe", 400)
    api(bob).delete(f"{url}/{card.pk}?force=false", 409)
    api(bob).delete(f"{url}/{card.pk}?force=true")


@pytest.fixture
def worktree(card: Card, repository: Path, tmp_path: Path, run_git: Any) -> Path:
    place = tmp_path.resolve() / "worktree"
    run_git(repository, "worktree", "add", "--quiet", "-b", "card/x", str(place))
    Worktree.objects.create(
        card_id=card.pk,
        project_id=card.project_id,
        host_id=host_id(settings.DATA_DIR),
        repository=str(repository),
        path=str(place),
        branch="card/x",
        base_ref="main",
        base_commit=run_git(repository, "rev-parse", "HEAD").strip(),
        state=Worktree.State.READY,
    )
    return place


def test_deleting_a_card_with_unsaved_work_needs_force(
    api: Any, url: str, card: Card, bob: User, worktree: Path
) -> None:
    (worktree / "new.txt").write_text("work")
    assert api(bob).delete(f"{url}/{card.pk}", 409)["code"] == "worktree_dirty"
    assert Card.objects.exists()
    api(bob).delete(f"{url}/{card.pk}?force=true")
    row = Worktree.objects.get()
    assert (row.state, row.forced) == (Worktree.State.REMOVING, True)
    assert (worktree / "new.txt").exists()


def test_deleting_a_card_with_a_clean_worktree_needs_none(
    api: Any, url: str, card: Card, bob: User, worktree: Path
) -> None:
    api(bob).delete(f"{url}/{card.pk}")
    row = Worktree.objects.get()
    assert (row.state, row.forced) == (Worktree.State.REMOVING, False)


def test_the_diff_holds_new_files_too(
    api: Any, url: str, card: Card, bob: User, worktree: Path
) -> None:
    (worktree / "new.txt").write_text("one\ntwo\n")
    (worktree / "README.md").write_text("# Park\n")
    found = api(bob).get(f"{url}/{card.pk}/diff")
    assert found["stats"] == {"filesChanged": 2, "insertions": 3, "deletions": 1}
    assert "+++ b/new.txt" in found["diff"]
    assert found["truncated"] is False


def test_without_a_worktree_the_diff_is_empty(api: Any, url: str, card: Card, bob: User) -> None:
    assert api(bob).get(f"{url}/{card.pk}/diff") == {
        "diff": "",
        "stats": {"filesChanged": 0, "insertions": 0, "deletions": 0},
        "truncated": False,
    }


def test_wrong_methods_and_unknown_cards_are_refused(
    api: Any, url: str, card: Card, alice: User
) -> None:
    api(alice).request("PUT", url, {}, 405)
    api(alice).request("OPTIONS", url, status=405)
    api(alice).post(f"{url}/{card.pk}", {}, 405)
    for unknown in ("card_999", "9" * 18, "9" * 20, "nonsense", "board_001"):
        api(alice).get(f"{url}/{unknown}", 404)
        api(alice).patch(f"{url}/{unknown}/move", {"columnId": 1}, 404)
