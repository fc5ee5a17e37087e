"""What a project owes its people: a model of what was asked of it and accepted, and what may become of it.

Agents and workers go on meanwhile, so the model does not say what is, only what may be: it is told what
people did and what they were answered, and looks at what the server shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.faults.replica import Frame, Row, is_live
from tests.process.board import FINAL

ACTIVE = ("In Progress", "Review")
COMPLETE = ("Done",)
# How a prompt begins that is not what somebody wrote, but what takes it up again.
TAKEN_UP = (
    "Your work on the following was",
    "You stopped while you waited",
    "You are taking over",
)


@dataclass
class Message:
    """`undercut`: a turn was ended after it had been sent, so the agent may never have got it.

    `cut`: such an end was asked for since the last look, which shows whether it had been sent by then.
    """

    id: str
    content: str
    state: str = "queued"
    dropped: bool = False
    stopped: bool = False
    may_stop: bool = False
    undercut: bool = False
    cut: bool = False

    def look(self, row: Row) -> None:
        state = "dropped" if row["dropped"] else "queued" if row["queued"] else "sent"
        assert (state == "sent") == (row["index"] is not None), row
        assert row["content"] == self.content
        assert state == self.state or self.state == "queued", (self, row)
        self.state = state
        self.undercut = self.undercut or (self.cut and state == "sent")
        self.cut = False
        # Cancel, complete and a move out of active columns drop the queue, readable (section 3, K7).
        if state == "dropped":
            assert self.dropped or self.stopped or self.may_stop, (self, row)
        if self.dropped:
            assert state == "dropped", (self, row)
        if self.stopped:
            assert state != "queued", (self, row)


@dataclass
class Card:
    """`column` is None once the server may have moved it by itself.

    `undercut`: a turn of it may have been ended. `lame`: its agent could not start, at some time at least.
    """

    id: str
    prompt: str
    auto: bool
    column: str | None = "Backlog"
    began: bool = False
    stopped: bool = False
    undercut: bool = False
    lame: bool = False
    deleted: bool = False
    moves: list[tuple[str, bool]] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    answered: dict[str, Row] = field(default_factory=dict)

    def cut(self, *, but: Message | None = None) -> None:
        """A running turn may have been ended; not that of a message which was yet to be sent."""
        self.undercut = True
        self.interrupted(but=but)

    def interrupted(self, *, but: Message | None = None) -> None:
        """What was being sent may not have arrived, and isn't made good."""
        for message in self.messages.values():
            message.cut = message.cut or message is not but

    def stop(self) -> None:
        """No agent may go on, and what was queued is not sent."""
        self.cut()
        self.stopped = True
        for message in self.messages.values():
            message.stopped = True

    def moved(self, to: str) -> None:
        self.moves.append((to, True))
        if to == self.column:
            return
        if to in ACTIVE:
            self.cut()
            self.started()
            self.column = None if self.auto else to
            return
        if to in COMPLETE and self.column is None:
            # Its last step may have brought it there already; a new place in a column stops nothing.
            self.cut()
            for message in self.messages.values():
                message.may_stop = True
        else:
            self.stop()
        self.column = to

    def started(self) -> None:
        self.stopped = False
        self.began = True
        self.column = None if self.auto else "In Progress"

    def completed(self) -> None:
        if self.column not in COMPLETE:
            self.moves.append(("Done", self.column is not None))
        self.stop()
        self.column = "Done"

    def posted(self, message: Message) -> None:
        self.messages[message.id] = message
        self.stopped = False

    def may_be_stopping(self) -> bool:
        return self.undercut

    def look(self, row: Row, sessions: list[Row], messages: list[Row], requests: list[Row]) -> None:
        """`sessions` newest first, `messages` of all of them, all read after the last that was asked."""
        assert bool(sessions) == self.began, sessions
        live = [each for each in sessions if is_live(each)]
        assert len(live) <= 1, live
        assert live in ([], sessions[:1]), sessions
        if self.stopped:
            assert not live, live
        shown = {each["id"]: each for each in messages}
        for message in self.messages.values():
            found = shown[message.id]
            message.look(found)
            if message.state == "queued":
                # A move to another active column carries the queue over (section 3).
                assert found["sessionId"] == sessions[0]["sessionId"], (found, sessions)
        for request in requests:
            if request["id"] in self.answered:
                assert request["state"] == "answered", request
        self._numbered(messages)

    def _numbered(self, messages: list[Row]) -> None:
        by_session: dict[str, list[int]] = {}
        for each in messages:
            if each["index"] is not None:
                by_session.setdefault(each["sessionId"], []).append(each["index"])
        for indexes in by_session.values():
            assert sorted(indexes) == list(range(len(indexes))), indexes

    def settled(self, session: Row, prompts: list[str]) -> None:
        """Everything has ended: `session` is the newest, `prompts` what agents were sent for the card."""
        assert session["status"] in FINAL, session
        task = f"# A task\n\n{self.prompt}"
        firsts = [text for text in prompts if text == task]
        assert firsts or self.undercut or self.lame, prompts
        for message in self.messages.values():
            # With the task before it, where that was cancelled before it was sent.
            sent_as = (message.content, f"{task}\n\n---\n\n{message.content}")
            fresh = sum(text in sent_as for text in prompts)
            again = sum(message.content in text for text in prompts if text.startswith(TAKEN_UP))
            if message.state == "sent":
                assert fresh <= 1, (message, prompts)
                assert fresh + again >= 1 or message.undercut, (message, prompts)
            else:
                assert fresh + again == 0, (message, prompts)
            if message.state == "queued":
                # Held: sent first by the next message.
                assert session["status"] == "failed", (message, session)


def check_moves(frames: list[Frame], cards: list[Card], columns: dict[str, str]) -> None:
    """A card moves when somebody moves it, and once more for each step that its agent has completed."""
    names = {column_id: name for name, column_id in columns.items()}
    seen: dict[str, list[tuple[str, bool]]] = {card.id: [] for card in cards}
    automatic = {card.id for card in cards if card.auto}
    for place, frame in enumerate(frames):
        if frame["type"] == "card.moved":
            data = frame["data"]
            by_itself = data["id"] in automatic and _advanced(
                frames[max(0, place - 2) : place], data
            )
            seen[data["id"]].append((names[data["columnId"]], by_itself))
    for card in cards:
        assert _fits(card.moves, seen[card.id]), (card, seen[card.id])


def _fits(asked: list[tuple[str, bool]], moves: list[tuple[str, bool]]) -> bool:
    """Each that was asked for, in its order; one that isn't certain may have found its card there.

    A move that may have been the server's own may as well have been somebody's, right after the step's end.
    """
    if moves and moves[0][1] and _fits(asked, moves[1:]):
        return True
    if not asked:
        return not moves
    (to, certain), *later = asked
    taken = bool(moves) and moves[0][0] == to and _fits(later, moves[1:])
    return taken or (not certain and _fits(later, moves))


def _advanced(before: list[Frame], moved: dict[str, Any]) -> bool:
    """In the transaction that ended the card's step (section 3)."""
    if len(before) < 2 or before[1]["type"] != "card.updated":
        return False
    ended = before[0]
    return bool(
        ended["type"] == "agent.status"
        and ended["data"]["status"] == "completed"
        and ended["data"]["cardId"] == moved["id"] == before[1]["data"]["id"]
        and ended["data"]["columnId"] == moved["fromColumnId"]
    )
