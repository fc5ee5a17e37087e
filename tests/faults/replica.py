"""A browser's copy of one project, kept by events alone, which refuses an event that may not happen."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.process.board import FINAL

Frame = dict[str, Any]
Row = dict[str, Any]

# Section 1 of the protocol. Twice the same: something else is said of the session.
STEPS = {
    None: {"queued"},
    "queued": {"queued", "starting", "cancelled", "failed"},
    "starting": {"starting", "running", "interrupted", "cancelled", "failed"},
    "running": {
        *("running", "waiting", "interrupted", "completed", "failed", "cancelled"),
    },
    "waiting": {"waiting", "running", "queued", "failed", "cancelled"},
    "interrupted": {"interrupted", "starting", "failed", "cancelled"},
    # A later message takes it up again; an attempt has one end.
    "completed": {"queued"},
    "failed": {"queued"},
    "cancelled": {"queued"},
}


# In one of REST and events only: what depends on who looks, a move's origin, the prompt.
UNTOLD = ("unread", "fromColumnId", "prompt")


def is_live(session: Row) -> bool:
    """And not asked to cancel."""
    return session["status"] not in FINAL and not session["cancelRequested"]


def check_session(session: Row) -> None:
    """What must be true of a session's shape whenever somebody sees it."""
    status = session["status"]
    assert (status in FINAL) == (session["endedAt"] is not None), session
    assert (status == "failed") == (session["error"] is not None), session
    assert (status == "waiting") == (session["waitingFor"] is not None), session


@dataclass
class Replica:
    """`columns` holds the ids of their cards in order, from which the cards' places follow."""

    seq: int = 0
    cards: dict[str, Row] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    sessions: dict[str, Row] = field(default_factory=dict)
    requests: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def fetched(
        cls, seq: int, cards: list[Row], sessions: list[Row], requests: list[Row]
    ) -> Replica:
        """From what REST says at that seq."""
        new = cls(seq, requests={each["id"]: told(each) for each in requests})
        new.sessions = {each["sessionId"]: told(each) for each in sessions}
        for card in sorted(cards, key=lambda card: int(card["position"])):
            row = told(card)
            column = new.columns.setdefault(row["columnId"], [])
            assert row.pop("position") == len(column), cards
            column.append(row["id"])
            new.cards[row["id"]] = row
        return new

    def state(self) -> dict[str, Any]:
        return {
            "cards": self.cards,
            "columns": {column: ids for column, ids in self.columns.items() if ids},
            "sessions": self.sessions,
            "requests": self.requests,
        }

    def copied(self) -> Replica:
        return copy.deepcopy(self)

    def apply(self, frame: Frame) -> None:
        assert frame["seq"] == self.seq + 1, (self.seq, frame)
        self.seq = frame["seq"]
        kind, data = frame["type"], told(frame["data"])
        if kind in ("card.created", "card.moved"):
            self._place(data)
        elif kind == "card.updated":
            assert self.columns[data["columnId"]].index(data["id"]) == data.pop("position"), frame
            self.cards[data["id"]] = data
        elif kind == "card.deleted":
            self._take_out(data["id"])
        elif kind == "agent.status":
            self._session(data)
        elif kind == "agent.request":
            self._request(data)

    def _place(self, card: Row) -> None:
        if card["id"] in self.cards:
            self._take_out(card["id"], for_good=False)
        column = self.columns.setdefault(card["columnId"], [])
        position = card.pop("position")
        assert 0 <= position <= len(column), card
        column.insert(position, card["id"])
        self.cards[card["id"]] = card

    def _take_out(self, card_id: str, *, for_good: bool = True) -> None:
        card = self.cards.pop(card_id)
        self.columns[card["columnId"]].remove(card_id)
        if for_good:
            self.sessions = _without(self.sessions, card_id)
            self.requests = _without(self.requests, card_id)

    def _session(self, session: Row) -> None:
        del session["projectId"]
        known = self.sessions.get(session["sessionId"])
        before = known["status"] if known else None
        assert session["status"] in STEPS[before], (known, session)
        check_session(session)
        self.sessions[session["sessionId"]] = session
        live = [each for each in self.of_card(session["cardId"]) if is_live(each)]
        assert len(live) <= 1, live
        if not is_live(session):
            assert not self.open_under(session["sessionId"]), session

    def _request(self, request: Row) -> None:
        del request["projectId"]
        known = self.requests.get(request["id"])
        if known is not None and known["state"] != "open":
            # The agent has taken its answer.
            assert known["deliveredAt"] is None, (known, request)
            assert request == {**known, "deliveredAt": request["deliveredAt"]}, (known, request)
        self.requests[request["id"]] = request

    def of_card(self, card_id: str) -> list[Row]:
        """Its sessions, oldest first."""
        return [each for each in self.sessions.values() if each["cardId"] == card_id]

    def at_work(self) -> bool:
        """Whether any agent works or is about to."""
        busy = ("queued", "starting", "running", "interrupted")
        return any(each["status"] in busy for each in self.sessions.values())

    def open_requests(self) -> list[Row]:
        return [each for each in self.requests.values() if each["state"] == "open"]

    def open_under(self, session_id: str) -> list[Row]:
        return [each for each in self.open_requests() if each["sessionId"] == session_id]


def told(row: Row) -> Row:
    shown = {name: value for name, value in row.items() if name not in UNTOLD}
    # What no event can tell: that no worker's beat is seen, or none of its host.
    if shown.get("queueReason") in ("no_worker", "host_away"):
        shown["queueReason"] = None
    if "statusText" in row and row["status"] in ("queued", "interrupted"):
        shown.pop("statusText")
    elif "no sign of life" in (shown.get("statusText") or "") or row.get("cancelRequested"):
        # Nor that one is silent, which is said before anything else of a session that it runs.
        shown["statusText"] = None
    return shown


def _without(rows: dict[str, Row], card_id: str) -> dict[str, Row]:
    return {key: row for key, row in rows.items() if row["cardId"] != card_id}


def assert_same(one: Replica, other: Replica) -> None:
    """Names what differs and little else."""
    ours, theirs = one.state(), other.state()
    for name in ours:
        for key in ours[name].keys() | theirs[name].keys():
            mine, yours = ours[name].get(key), theirs[name].get(key)
            if mine != yours and isinstance(mine, dict) and isinstance(yours, dict):
                mine = {field: value for field, value in mine.items() if value != yours.get(field)}
                yours = {field: yours.get(field) for field in mine}
            assert mine == yours, (name, key, mine, yours)
