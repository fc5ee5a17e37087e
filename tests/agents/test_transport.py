"""An agent's standard output, with everything that can be wrong with it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from apps.agents.runtime.transport import LONGEST_LINE, UNTAKEN_BYTES, AgentTransport


class Pipe(asyncio.ReadTransport):
    reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Harness:
    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.transport = AgentTransport(
            None,  # type: ignore[arg-type]
            on_update=self.updates.append,
            room=self.room,
            full=lambda: not self.open.is_set(),
        )
        self.pipe = Pipe()
        self.transport.connection_made(self.pipe)

    async def room(self) -> None:
        await self.open.wait()

    def say(self, *lines: bytes) -> None:
        said = b"".join(line + b"\n" for line in lines)
        for at in range(0, len(said), 1 << 16):
            self.transport.data_received(said[at : at + (1 << 16)])


def update(text: str) -> bytes:
    return orjson.dumps({"method": "session/update", "params": {"update": {"n": text}}})


ANSWER = orjson.dumps({"id": 1, "result": {}})


async def test_updates_are_taken_in_order_before_the_answer_behind_them() -> None:
    harness = Harness()
    harness.say(update("a"), update("b"), ANSWER)
    assert (await harness.transport.receive() or {})["id"] == 1
    assert [each["n"] for each in harness.updates] == ["a", "b"]


async def test_lines_cut_anywhere_are_put_together() -> None:
    harness = Harness()
    whole = update("ü€") + b"\n" + ANSWER + b"\n"
    receiving = asyncio.ensure_future(harness.transport.receive())
    for at in range(len(whole)):
        harness.transport.data_received(whole[at : at + 1])
        await asyncio.sleep(0)
    assert (await receiving or {})["id"] == 1
    assert harness.updates == [{"n": "ü€"}]


async def test_garbage_is_skipped_and_kept_for_the_error_message() -> None:
    harness = Harness()
    harness.say(b"npm WARN deprecated", b"", b"[1, 2]", b"\xff\xfe", b"{half", ANSWER)
    assert (await harness.transport.receive() or {})["id"] == 1
    assert harness.transport.garbage_lines == 4
    assert "npm WARN deprecated" in harness.transport.garbage


async def test_bad_utf8_inside_a_message_is_replaced_not_lost() -> None:
    harness = Harness()
    harness.say(update("x").replace(b"x", b"\xff\xfe"), ANSWER)
    await harness.transport.receive()
    assert harness.updates == [{"n": "\ufffd\ufffd"}]


async def test_a_line_without_end_does_not_fill_the_memory() -> None:
    harness = Harness()
    harness.say(b"x" * (LONGEST_LINE * 2), ANSWER)
    assert (await harness.transport.receive() or {})["id"] == 1
    assert "MiB" in harness.transport.garbage[0]


async def test_nothing_is_read_while_the_sink_has_no_room() -> None:
    harness = Harness()
    harness.open.clear()
    harness.say(update("a"), ANSWER)
    assert not harness.pipe.reads
    assert (await harness.transport.receive() or {})["id"] == 1
    assert not harness.pipe.reads
    harness.open.set()
    await asyncio.sleep(0.01)
    assert harness.pipe.reads
    harness.transport.connection_lost(None)
    assert await harness.transport.receive() is None
    assert harness.updates == [{"n": "a"}]


async def test_nothing_is_read_while_nobody_takes_what_was_asked() -> None:
    harness = Harness()
    harness.say(*[ANSWER] * 150)
    assert not harness.pipe.reads
    for _ in range(150):
        assert await harness.transport.receive() is not None
    assert harness.pipe.reads


async def test_few_long_lines_that_nobody_takes_are_as_much_as_many() -> None:
    harness = Harness()
    long = orjson.dumps({"id": 1, "result": {"text": "x" * (UNTAKEN_BYTES // 4)}})
    for _ in range(3):
        harness.say(long)
        assert harness.pipe.reads
    harness.say(long)
    assert not harness.pipe.reads
    await harness.transport.receive()
    assert harness.pipe.reads


async def test_an_update_that_cannot_be_taken_is_noted_and_the_next_one_is_taken() -> None:
    harness = Harness()

    def refuse_large(update: dict[str, Any]) -> None:
        if update["n"] == "bad":
            raise TypeError("Recursion limit reached")
        harness.updates.append(update)

    harness.transport._on_update = refuse_large
    harness.say(update("bad"), update("good"), ANSWER)
    assert (await harness.transport.receive() or {})["id"] == 1
    assert harness.updates == [{"n": "good"}]
    assert "TypeError" in harness.transport.garbage[0]


async def test_a_line_nested_too_deep_is_garbage() -> None:
    harness = Harness()
    harness.say(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, ANSWER)
    assert (await harness.transport.receive() or {})["id"] == 1
    assert harness.transport.garbage_lines == 1


async def test_waiting_for_room_is_not_the_agents_silence() -> None:
    harness = Harness()
    harness.open.clear()
    harness.say(update("a"))
    assert harness.transport.paused
    harness.transport.heard_at = 0
    harness.open.set()
    await asyncio.sleep(0.01)
    assert not harness.transport.paused
    assert harness.transport.heard_at > 0
