"""Answers kept while the database stands still, from real web processes: never old, never another's."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jwt
import pytest
from django.db import connection, connections

from apps.accounts import tokens
from apps.accounts.authentication import REMEMBER_S
from apps.accounts.models import PersonalToken, User
from apps.cards import services as cards
from apps.cards.models import Card
from apps.common.ids import public_id
from apps.common.kept import DatabaseVersion
from apps.projects.models import ProjectMember
from tests import factories
from tests.realtime.conftest import World
from tests.realtime.processes import WebServer

SECONDS = 3.0
WRITERS = 4
READERS = 6


class Asker:
    """One connection. Other headers are the test's own."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(
        self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str
    ) -> tuple[int, bytes, str | None]:
        """Status, body and ETag."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, sent)
        response = self.connection.getresponse()
        return response.status, response.read(), response.headers["ETag"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.connection.close()

    def get(self, path: str, token: str | None = None, **headers: str) -> tuple[int, bytes]:
        return self.ask("GET", path, token, **headers)[:2]


@pytest.fixture
def asker(web: WebServer) -> Iterator[Asker]:
    with Asker(web.port) as asker:
        yield asker


class Race:
    """Writers that count in titles and note what was confirmed; readers that note it before they ask."""

    def __init__(self, web: WebServer, world: World) -> None:
        self.port = web.port
        self.token = tokens.issue(world.alice)
        self.alice = world.alice
        made = factories.make_project(world.alice, name="Bed", path="/srv/bed")
        board = public_id("board", factories.first_board(made).pk)
        self.cards = [factories.make_card(made, title="Card 0") for _ in range(WRITERS)]
        self.confirmed = {public_id("card", card.pk): 0 for card in self.cards}
        project = f"/api/projects/{public_id('project', made.pk)}/cards"
        self.paths = [
            project,
            f"{project}?boardId=",
            f"{project}?boardId={board}",
            *(f"{project}/{card}" for card in self.confirmed),
            *(f"/api/cards/{card}" for card in self.confirmed),
            *(f"/api/cards/{card}/status" for card in self.confirmed),
        ]
        self.project_cards = project
        self.over = threading.Event()
        self.problems: list[str] = []
        self.answers = 0

    def run(self) -> None:
        write: list[Callable[[Card], None]] = [self._over_http, self._in_another_process]
        threads = [
            *(threading.Thread(target=write[n % 2], args=[self.cards[n]]) for n in range(WRITERS)),
            *(threading.Thread(target=self._read, args=[n]) for n in range(READERS)),
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        try:
            while not (self.problems or self._enough(time.monotonic() - began)):
                time.sleep(0.05)
        finally:
            self.over.set()
            for thread in threads:
                thread.join(30)
        assert not self.problems, self.problems[:5]

    def _enough(self, passed: float) -> bool:
        assert passed < 60, f"only {self.answers} answers, {self.confirmed} changes"
        return passed > SECONDS and self.answers > 1_000 and min(self.confirmed.values()) > 20

    def _over_http(self, card: Card) -> None:
        pauses, name = random.Random(card.pk), public_id("card", card.pk)
        path = f"{self.project_cards}/{name}"
        with Asker(self.port) as asker:
            for count in range(1, 1_000_000):
                if self.over.wait(pauses.expovariate(50)):
                    return
                status, body, _ = asker.ask("PATCH", path, self.token, {"title": f"Card {count}"})
                if status != 200:
                    self.problems.append(f"PATCH: {status} {body!r}")
                    return
                self.confirmed[name] = count

    def _in_another_process(self, card: Card) -> None:
        pauses, name = random.Random(card.pk), public_id("card", card.pk)
        try:
            for count in range(1, 1_000_000):
                if self.over.wait(pauses.expovariate(50)):
                    return
                cards.update_card(card, title=f"Card {count}", by=self.alice.pk)
                self.confirmed[name] = count
        except Exception as error:  # noqa: BLE001 - of a thread it would be lost
            self.problems.append(f"update: {error!r}")
        finally:
            connections.close_all()

    def _read(self, number: int) -> None:
        choice = random.Random(number)
        known: dict[str, tuple[str, dict[str, int]]] = {}
        with Asker(self.port) as asker:
            while not self.over.is_set() and not self.problems:
                self._read_one(asker, choice, known)

    def _read_one(
        self, asker: Asker, choice: random.Random, known: dict[str, tuple[str, dict[str, int]]]
    ) -> None:
        path = choice.choice(self.paths)
        before = dict(self.confirmed)
        etag, seen = known.get(path, ("", {}))
        headers = {"If_None_Match": etag} if etag and choice.random() < 0.5 else {}
        status, body, new = asker.ask("GET", path, self.token, **headers)
        if status == 200:
            data = json.loads(body)["data"]
            listed = data if isinstance(data, list) else [data]
            seen = {each["id"]: int(each["title"].rpartition(" ")[2]) for each in listed}
            known[path] = (str(new), seen)
        elif status != 304:
            self.problems.append(f"{path}: {status} {body!r}")
        self.answers += 1
        for card, count in seen.items():
            if count < before[card]:
                self.problems.append(f"{path}: {status}, {count} after {before[card]}")


@pytest.mark.both_databases
def test_no_answer_is_older_than_the_last_change_confirmed_before_it_was_asked_for(
    web: WebServer, world: World
) -> None:
    Race(web, world).run()


def _twice(asker: Asker, path: str, token: str | None, **headers: str) -> bytes:
    """The second answer, which comes from memory."""
    first, second = (asker.get(path, token, **headers) for _ in range(2))
    assert first == second
    assert first[0] == 200
    return first[1]


@pytest.mark.both_databases
def test_a_kept_answer_goes_to_nobody_with_another_token(asker: Asker, world: World) -> None:
    people = [world.alice, world.bob, world.charlie, world.root]
    for path in ("/api/auth/me", "/api/projects"):
        answers = [_twice(asker, path, tokens.issue(person)) for person in people]
        assert len(set(answers)) >= 3
        assert asker.get(path)[0] == 401
        assert asker.get(path, "nonsense")[0] == 401
    path = f"/api/projects/{world.project.pk}/cards"
    _twice(asker, path, tokens.issue(world.alice))
    assert asker.get(path, tokens.issue(world.charlie))[0] == 404


@pytest.mark.both_databases
def test_signing_out_everywhere_ends_kept_answers_at_once(asker: Asker, world: World) -> None:
    token = tokens.issue(world.bob)
    _twice(asker, "/api/projects", token)
    assert asker.ask("POST", "/api/auth/logout-all", token)[0] == 200
    for _ in range(3):
        assert asker.get("/api/projects", token)[0] == 401


def _deactivate(bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)


def _revoke(bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(token_version=7)


@pytest.mark.both_databases
@pytest.mark.parametrize("end", [_deactivate, _revoke])
def test_what_another_process_does_to_an_account_counts_at_once(
    asker: Asker, world: World, end: Callable[[User], None]
) -> None:
    token = tokens.issue(world.bob)
    path = f"/api/projects/{world.project.pk}/cards"
    _twice(asker, path, token)
    end(world.bob)
    for _ in range(3):
        assert asker.get(path, token)[0] == 401


@pytest.mark.both_databases
def test_who_is_signed_out_while_a_request_still_comes_in_is_refused_at_its_end(
    asker: Asker, world: World
) -> None:
    token = tokens.issue(world.bob)
    path = f"/api/projects/{world.project.pk}/cards"
    _twice(asker, path, token)
    body = json.dumps({"title": "Late"}).encode()
    late = http.client.HTTPConnection("127.0.0.1", asker.connection.port, timeout=30)
    late.putrequest("POST", path)
    late.putheader("Authorization", f"Bearer {token}")
    late.putheader("Content-Type", "application/json")
    late.putheader("Content-Length", str(len(body)))
    late.endheaders(body[:5])
    # Until it has come in, under the number that the token was last looked up for.
    time.sleep(0.3)
    _revoke(world.bob)
    time.sleep(REMEMBER_S + 0.1)
    late.send(body[5:])
    assert late.getresponse().status == 401
    late.close()


@pytest.mark.both_databases
def test_a_member_who_is_removed_sees_nothing_more(asker: Asker, world: World) -> None:
    token = tokens.issue(world.bob)
    path = f"/api/projects/{world.project.pk}/cards"
    _twice(asker, path, token)
    ProjectMember.objects.filter(user=world.bob).delete()
    assert asker.get(path, token)[0] == 404


def test_a_token_that_expires_ends_its_kept_answers(asker: Asker, world: World) -> None:
    now = int(time.time())
    claims = {"sub": str(world.bob.pk), "tv": world.bob.token_version, "iat": now, "exp": now + 3}
    token = jwt.encode(claims, tokens._key(), algorithm="HS256")
    _twice(asker, "/api/projects", token)
    while time.time() < now + 2.5:
        assert asker.get("/api/projects", token)[0] == 200
        time.sleep(0.1)
    time.sleep(max(0.0, now + 3.01 - time.time()))
    assert asker.get("/api/projects", token)[0] == 401


@pytest.mark.both_databases
def test_a_revoked_personal_token_ends_its_kept_answers_at_once(asker: Asker, world: World) -> None:
    token = factories.make_token(world.bob)
    path = f"/api/projects/{world.project.pk}/cards"
    _twice(asker, path, token)
    mine = tokens.issue(world.bob)
    token_id = PersonalToken.objects.get().pk
    assert asker.ask("DELETE", f"/api/user/tokens/{token_id}", mine)[0] == 204
    for _ in range(3):
        assert asker.get(path, token)[0] == 401
    assert asker.get(path, mine)[0] == 200


def test_the_use_of_a_token_makes_no_answer_stale_but_the_first(asker: Asker, world: World) -> None:
    token = factories.make_token(world.bob)
    assert asker.get("/api/projects", token)[0] == 200
    number = DatabaseVersion(str(connection.settings_dict["NAME"]))
    before = number.read()
    for path in ("/api/projects", "/api/auth/me", f"/api/projects/{world.project.pk}/cards"):
        _twice(asker, path, token)
    assert number.read() == before


@pytest.mark.both_databases
def test_every_header_is_part_of_the_question(asker: Asker, world: World) -> None:
    token = tokens.issue(world.alice)
    path = f"/api/projects/{world.project.pk}/cards"
    plain = asker.ask("GET", path, token)
    _twice(asker, path, token)
    etag = str(plain[2])
    for _ in range(2):
        assert asker.ask("GET", path, token, If_None_Match=etag) == (304, b"", etag)
        assert asker.ask("HEAD", path, token) == (200, b"", etag)
        assert asker.ask("GET", path, token, If_None_Match='"another"') == plain
        assert asker.get(path, token, Accept="text/csv")[0] == 406
        assert asker.get(path, token, Host="evil.example")[0] == 400
        assert asker.ask("GET", path, token) == plain


@pytest.mark.both_databases
def test_a_refusal_is_not_kept(asker: Asker, world: World) -> None:
    token = tokens.issue(world.charlie)
    path = f"/api/projects/{world.project.pk}/cards"
    assert [asker.get(path, token)[0] for _ in range(3)] == [404] * 3
    ProjectMember.objects.create(project=world.project, user=world.charlie)
    assert asker.get(path, token)[0] == 200


def test_the_number_moves_with_every_commit_of_anybody_and_with_another_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a #?% board.sqlite3"
    version = DatabaseVersion(str(path))
    assert version.read() is None
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t (n INTEGER)")
    seen = [version.read()]
    assert version.read() == seen[0]
    for statement in ("INSERT INTO t VALUES (1)", "UPDATE t SET n = 2", "DELETE FROM t"):
        writer.execute(statement)
        seen.append(version.read())
        assert version.read() == seen[-1]
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (3)")
    assert version.read() == seen[-1]
    writer.execute("COMMIT")
    seen.append(version.read())
    writer.close()
    other = tmp_path / "backup.sqlite3"
    with sqlite3.connect(other) as copy:
        copy.execute("CREATE TABLE t (n INTEGER)")
    copy.close()
    other.replace(path)
    seen.append(version.read())
    assert None not in seen
    assert len(set(seen)) == len(seen)
