"""What a machine that drives a project sees of it: over REST, over the socket, and in what agents noted."""

from __future__ import annotations

import itertools
import time
from typing import Any

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from tests.faults.reference import Card, Message, check_moves
from tests.faults.replica import Frame, Replica, Row, assert_same
from tests.process.board import Board, Project
from tests.process.board import Card as BoardCard
from tests.process.server import until
from tests.process.watch import Watch


class Observer(RuleBasedStateMachine):
    """One project on a board that outlives it; `live` follows it from its beginning."""

    project: Project
    live: Watch
    probe: Watch
    epoch: str

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board
        self.cards: list[Card] = []
        self.numbers = itertools.count(1)
        self.kills = self.most_kills = 0
        self.down = False
        self.lame = False
        self.log: list[Frame] = []
        self.snapshots: list[Replica] = []
        self.replica = Replica()

    def _prompt(self, script: str) -> str:
        return script.replace("#", f"w{next(self.numbers)}w")

    def _card(self, n: int) -> Card | None:
        left = [card for card in self.cards if not card.deleted]
        return left[n % len(left)] if left else None

    def _message(self, n: int, m: int) -> tuple[Card | None, Message | None]:
        card = self._card(n)
        messages = list(card.messages.values()) if card else []
        return card, messages[-1 - m % len(messages)] if messages else None

    def _url(self, card: Card) -> str:
        return f"/projects/{self.project.id}/cards/{card.id}"

    def _ask(self, method: str, url: str, body: Any, allowed: set[int]) -> tuple[int, Any]:
        status, answer = self.board.api.ask(method, url, body)
        note(f"{time.monotonic():.2f} {method} {url} {body or ''} → {status}")
        assert status in allowed, (status, answer, self.board.log(2_000))
        return status, answer

    def _wait_for_worker(self) -> None:
        until(lambda: self.board.pid("worker") != 0, what="a worker", timeout=30)

    def _answer(self, card: Card, request: Row, *, grant: bool, in_words: bool) -> None:
        body: dict[str, Any]
        if request["kind"] == "question":
            body = {"answers": {"answer": "blue"}} if grant else {"optionId": "decline"}
        elif request["kind"] == "plan" and not grant and in_words:
            body = {"text": self._prompt("[say #]")}
        else:
            wanted = "allow_once" if grant else "reject_once"
            option = next(each for each in request["options"] if each["kind"] == wanted)
            body = {"optionId": option["optionId"]}
        url = f"{self._url(card)}/agent/requests/{request['id']}/answer"
        status, answer = self._ask("POST", url, body, {200, 409})
        if status == 200:
            card.answered[request["id"]] = body
            if request["kind"] == "plan" and not grant:
                card.undercut = True
            # The same person's same answer again is none too many.
            self._ask("POST", url, body, {200})
        else:
            assert answer["error"]["code"] == "request_closed"

    def _position(self) -> int:
        answer = self.probe.subscribe(projectId=self.project.id)
        return int(answer["data"]["seq"])

    def _fetch(
        self,
    ) -> tuple[int | None, tuple[list[Row], list[Row], dict[str, list[Row]], list[Row]]]:
        """What REST says, and the seq at which it is true, if nothing happened meanwhile."""
        seq, tries = None, 0
        while seq is None and tries < 3:
            tries += 1
            before = self._position()
            fetched = self._fetch_once()
            if self._position() == before:
                seq = before
        return seq, fetched

    def _fetch_once(self) -> tuple[list[Row], list[Row], dict[str, list[Row]], list[Row]]:
        get = self.board.api.get
        sessions: list[Row] = []
        requests: list[Row] = []
        messages: dict[str, list[Row]] = {}
        for card in self.cards:
            if not card.deleted:
                # What is queued is looked for where the newest session is, so that is asked first.
                url = f"{self._url(card)}/agent"
                sessions += get(f"{url}/sessions")
                messages[card.id] = get(f"{url}/messages?limit=500")["messages"]
                requests += get(f"{url}/requests")
        return get(f"/projects/{self.project.id}/cards"), sessions, messages, requests

    def _follow(self, until_seq: int | None = None) -> Replica:
        """Apply what the socket has brought, up to that seq."""

        def arrived() -> list[Frame]:
            return [frame for frame in self.live.frames if frame.get("seq") is not None]

        if until_seq is not None:
            until(lambda: len(arrived()) >= until_seq, what=f"event {until_seq}")
        for frame in arrived()[len(self.log) : until_seq]:
            self.replica.apply(frame)
            self.log.append(frame)
            if frame["type"] == "agent.status" and frame["data"]["status"] == "queued":
                self.live.subscribe(sessionId=frame["data"]["sessionId"], after=-1)
        return self.replica

    def _session(self, card: Card) -> Any:
        return self.board.api.get(f"{self._url(card)}/agent")

    def _check_all(self) -> None:
        assert not [
            note for note in self.board.notes("overlaps") if self._is_ours(str(note["cwd"]))
        ]
        for card in self.cards:
            if card.began and not card.deleted:
                found = BoardCard(card.id, self.project)
                card.settled(self._session(card), self.board.prompts(found))
                for session in self.board.api.get(f"{self._url(card)}/agent/sessions"):
                    self._check_transcript(found, session["sessionId"])
        check_moves(self.log, self.cards, self.project.columns)
        self._check_replays()

    def _is_ours(self, path: str) -> bool:
        return any(card.id in path for card in self.cards)

    def _check_transcript(self, card: BoardCard, session_id: str) -> None:
        """The socket's, from its beginning and as it came, is the same as what is stored."""
        stored = self.board.assert_gapless(card, session_id)
        stored = [each for each in stored if each["index"] is not None]
        revs = [each["rev"] for each in stored]
        assert len(set(revs)) == len(revs), revs
        with self.board.watch() as again:
            again.subscribe(sessionId=session_id, afterRev=0)
            for watch in (self.live, again):

                def heard(watch: Any = watch) -> bool:
                    newest = watch.transcript(session_id)
                    return [newest[index] for index in sorted(newest)] == stored

                until(heard, what=f"the transcript of {session_id}")

    def _check_replays(self) -> None:
        """From any point on that somebody may have stood at, events lead to what is now."""
        last = self.snapshots[-1]
        assert last.seq == len(self.log)
        for snapshot in self.snapshots[:: max(1, len(self.snapshots) // 6)]:
            with self.board.watch() as watch:
                since = f"{self.epoch}:{snapshot.seq}"
                watch.subscribe(projectId=self.project.id, since=since)
                if snapshot.seq < last.seq:
                    watch.wait(lambda frame: frame.get("seq") == last.seq, what="the last event")
                frames = [frame for frame in watch.frames if frame.get("seq") is not None]
            assert frames == self.log[snapshot.seq :]
            replica = snapshot.copied()
            for frame in frames:
                replica.apply(frame)
            assert_same(replica, last)

    def _leave(self) -> None:
        """Nothing of this project may be in the next one's way."""
        if self.cards:
            self.live.close()
            self.probe.close()
            self.board.api.ask("DELETE", f"/projects/{self.project.id}?force=true")
            until(lambda: not self.board.agents(), timeout=30, what="the end of all agents")
