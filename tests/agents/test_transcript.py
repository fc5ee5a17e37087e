"""What an agent says, as lines of a transcript."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from apps.agents.runtime.transcript import ENDED_CALLS_KEPT, LONGEST_MESSAGE, Transcript
from apps.events import telling
from apps.runs.masking import Secrets
from apps.runs.sink import Line


class Lines:
    """The newest state of each line, as the sink would store it."""

    run_id = 7

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self.count = 0

    def new_ordinal(self) -> int:
        self.count += 1
        return self.count

    def put(self, line: Line) -> None:
        self.lines[line.ordinal] = line

    def index_of(self, ordinal: int) -> int | None:
        return ordinal - 1

    def forget(self, ordinal: int) -> None:
        assert ordinal in self.lines

    @property
    def all(self) -> list[Line]:
        return [self.lines[ordinal] for ordinal in sorted(self.lines)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    frames: list[str] = []
    monkeypatch.setattr(telling, "tell_session", lambda _id, _head, frame: frames.append(frame))
    return frames


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def transcript(lines: Lines, loop: asyncio.AbstractEventLoop, told: list[str]) -> Transcript:
    return Transcript(lines, Secrets(["sk-very-secret-key"]), loop)  # type: ignore[arg-type]


def chunk(text: str, kind: str = "agent_message_chunk") -> dict[str, object]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}}


def test_chunks_become_one_line_and_a_change_of_kind_begins_another(
    transcript: Transcript, lines: Lines
) -> None:
    transcript.update(chunk("Let me ", "agent_thought_chunk"))
    transcript.update(chunk("think.", "agent_thought_chunk"))
    transcript.update(chunk("Hello"))
    transcript.end_turn()
    assert [(line.type, line.content, line.partial) for line in lines.all] == [
        ("reasoning", "Let me think.", False),
        ("text", "Hello", False),
    ]


def test_a_text_is_a_line_from_its_first_chunk_on(transcript: Transcript, lines: Lines) -> None:
    transcript.update(chunk("Hel"))
    assert [(line.content, line.partial) for line in lines.all] == [("Hel", True)]


def test_a_secret_is_masked_even_when_it_comes_in_pieces(
    transcript: Transcript, lines: Lines, told: list[str], loop: asyncio.AbstractEventLoop
) -> None:
    for piece in ("the key is sk-very", "-secret", "-key, keep it"):
        transcript.update(chunk(piece))
        transcript._tell_deltas()
    transcript.end_turn()
    assert lines.all[0].content == "the key is ****, keep it"
    assert "sk-very" not in "".join(told)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("the key is sk-very-secret-ke", "the key is ****"),
        ("the key is sk-very-", "the key is ****"),
        # No more than many words begin with.
        ("I ask", "I ask"),
        ("the key is sk-very", "the key is sk-very"),
    ],
)
def test_a_text_that_ends_within_a_secret_keeps_little_of_it(
    transcript: Transcript, lines: Lines, said: str, kept: str
) -> None:
    for piece in said:
        transcript.update(chunk(piece))
    transcript.end_turn()
    assert lines.all[-1].content == kept


def test_of_a_short_secret_less_than_half_is_left_at_the_end_of_a_text(
    lines: Lines, loop: asyncio.AbstractEventLoop
) -> None:
    transcript = Transcript(lines, Secrets(["pa55word"]), loop)  # type: ignore[arg-type]
    for said, kept in (("it is pa55wor", "it is ****"), ("it is pa5", "it is pa5")):
        transcript.update(chunk(said))
        transcript.end_turn()
        assert lines.all[-1].content == kept


def test_a_secret_in_a_tool_call_is_masked(transcript: Transcript, lines: Lines) -> None:
    transcript.update(
        {"sessionUpdate": "tool_call", "toolCallId": "1", "rawOutput": "KEY=sk-very-secret-key"}
    )
    assert "sk-very-secret-key" not in (lines.all[0].tool_call or "")


def test_a_tool_call_is_one_line_whatever_comes_first(transcript: Transcript, lines: Lines) -> None:
    update = {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "in_progress"}
    transcript.update(update)
    transcript.update(
        {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "Write a", "kind": "edit"}
    )
    transcript.update({**update, "status": "completed", "rawOutput": "done"})
    transcript.end_turn()
    assert len(lines.all) == 1
    call = orjson.loads(lines.all[0].tool_call or "")
    assert (call["title"], call["kind"], call["status"], call["output"]) == (
        "Write a",
        "edit",
        "completed",
        "done",
    )


def test_a_tool_call_left_open_at_the_end_of_a_turn_is_marked(
    transcript: Transcript, lines: Lines
) -> None:
    transcript.update({"sessionUpdate": "tool_call", "toolCallId": "1", "status": "in_progress"})
    assert transcript.open_tool_since is not None
    transcript.end_turn()
    assert orjson.loads(lines.all[0].tool_call or "")["status"] == "cancelled"
    assert transcript.open_tool_since is None


def test_calls_that_ended_long_ago_take_no_memory(transcript: Transcript, lines: Lines) -> None:
    for number in range(1_000):
        call = {"sessionUpdate": "tool_call", "toolCallId": str(number), "status": "in_progress"}
        transcript.update(call)
        if number:
            transcript.update({**call, "status": "completed"})
    assert len(transcript.tools) + len(transcript.ended_tools) <= ENDED_CALLS_KEPT + 1
    transcript.update({"sessionUpdate": "tool_call_update", "toolCallId": "999", "title": "late"})
    assert len(lines.all) == 1_000
    assert lines.all[-1].content == "late"
    transcript.end_turn()
    assert orjson.loads(lines.all[0].tool_call or "")["status"] == "cancelled"


def test_replayed_history_is_not_stored(transcript: Transcript, lines: Lines) -> None:
    transcript.loading = True
    transcript.update(chunk("old words"))
    transcript.loading = False
    assert lines.all == []


def test_nul_and_lone_surrogates_become_replacement_characters(
    transcript: Transcript, lines: Lines
) -> None:
    transcript.update(chunk("a\x00b\ud800c"))
    transcript.update(
        {
            "sessionUpdate": "tool_call",
            "toolCallId": "1",
            "title": "\ud800",
            "rawInput": {"a\x00": "\x00"},
        }
    )
    assert "\x00" not in lines.all[0].content
    lines.all[0].content.encode()
    assert "\\u0000" not in (lines.all[1].tool_call or "")


def test_an_endless_text_is_cut_and_says_so(transcript: Transcript, lines: Lines) -> None:
    for _ in range(3):
        transcript.update(chunk("x" * (LONGEST_MESSAGE // 2)))
    transcript.end_turn()
    assert len(lines.all[0].content) == LONGEST_MESSAGE
    assert lines.all[0].truncated


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"sessionUpdate": "from_the_future", "x": 1},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "…"}},
        {"sessionUpdate": "tool_call"},
        {"sessionUpdate": "tool_call", "toolCallId": "1", "content": "no list"},
        {"sessionUpdate": "plan", "entries": "no list"},
        {"sessionUpdate": "usage_update", "cost": {"amount": "free"}},
    ],
)
def test_an_update_nobody_understands_breaks_nothing(
    transcript: Transcript, update: dict[str, object]
) -> None:
    transcript.update(update)
    transcript.end_turn()


def test_a_tool_call_that_json_cannot_hold_is_stored_and_ended_all_the_same(
    transcript: Transcript, lines: Lines
) -> None:
    deep: object = 1
    for _ in range(300):
        deep = {"a": deep}
    transcript.update(
        {
            "sessionUpdate": "tool_call",
            "toolCallId": "1",
            "status": ["odd"],
            "rawInput": {"deep": deep, "large": 1 << 80},
        }
    )
    transcript.end_turn()
    call = orjson.loads(lines.all[0].tool_call or "")
    assert call["status"] == "cancelled"
    assert call["input"]["large"] == str(1 << 80)
