"""Many pipes of processes, read together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from apps.runs import outputs
from apps.runs.outputs import MOST_AT_ONCE, Outputs


class Heard(asyncio.Protocol):
    """What came through one pipe; `then` is called after each piece."""

    def __init__(self, on: Outputs, then: Callable[[], None] = lambda: None) -> None:
        reading, self.writing = os.pipe()
        self.pieces: list[bytes] = []
        self.then = then
        self.came = asyncio.Event()
        self.ended = asyncio.Event()
        on.attach(reading, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self.pipe = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.came.set()
        self.then()

    def connection_lost(self, error: Exception | None) -> None:
        assert not self.ended.is_set()
        self.ended.set()

    def say(self, text: bytes) -> None:
        os.write(self.writing, text)

    def hang_up(self) -> None:
        os.close(self.writing)

    async def end(self) -> bytes:
        await asyncio.wait_for(self.ended.wait(), 5)
        return b"".join(self.pieces)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings so far apart that a busy machine doesn't matter."""
    monkeypatch.setattr(outputs, "GATHER_S", 0.3)


async def test_everything_is_read_in_its_order_and_then_the_end() -> None:
    on = Outputs(asyncio.get_running_loop())
    heard = [Heard(on) for _ in range(20)]
    for number in range(50):
        for each in heard:
            each.say(b"%d\n" % number)
        await asyncio.sleep(0)
    for each in heard:
        each.hang_up()
    assert {await each.end() for each in heard} == {b"".join(b"%d\n" % n for n in range(50))}


@pytest.mark.usefixtures("slow")
async def test_what_comes_shortly_after_another_reading_is_read_together() -> None:
    on = Outputs(asyncio.get_running_loop())
    one, other = Heard(on), Heard(on)
    one.say(b"at once")
    await asyncio.wait_for(one.came.wait(), 0.25)
    one.came.clear()
    for letter in (b"a", b"b", b"c"):
        one.say(letter)
        other.say(letter)
        await asyncio.sleep(0.001)
    await asyncio.wait_for(one.came.wait(), 5)
    assert one.pieces == [b"at once", b"abc"]
    assert other.pieces == [b"abc"]
    for each in (one, other):
        each.hang_up()
        await each.end()


@pytest.mark.usefixtures("slow")
async def test_a_full_pipe_is_read_on_without_a_rest() -> None:
    on = Outputs(asyncio.get_running_loop())
    heard = Heard(on)
    text = b"x" * (20 * MOST_AT_ONCE)

    def say_all() -> None:
        with os.fdopen(heard.writing, "wb") as pipe:
            pipe.write(text)

    await asyncio.wait_for(asyncio.to_thread(say_all), 4)
    assert await heard.end() == text


async def test_a_paused_pipe_keeps_what_is_in_it_until_it_is_read_on() -> None:
    on = Outputs(asyncio.get_running_loop())
    paused, other = Heard(on), Heard(on)
    paused.pipe.pause_reading()
    paused.say(b"later")
    paused.hang_up()
    other.say(b"meanwhile")
    await asyncio.wait_for(other.came.wait(), 5)
    assert paused.pieces == []
    paused.pipe.resume_reading()
    assert await paused.end() == b"later"
    other.pipe.close()
    await other.end()
    os.close(other.writing)


@pytest.mark.usefixtures("slow")
async def test_a_pipe_that_another_ones_words_close_is_not_read_any_more() -> None:
    on = Outputs(asyncio.get_running_loop())
    first = Heard(on)
    pair: list[Heard] = []

    def close_both() -> None:
        for each in pair:
            each.pipe.close()

    pair += [Heard(on, close_both), Heard(on, close_both)]
    first.say(b"so that the next reading has both")
    await asyncio.wait_for(first.came.wait(), 5)
    for each in pair:
        each.say(b"close the other")
    for each in pair:
        await each.end()
        os.close(each.writing)
    assert sorted(each.pieces for each in pair) == [[], [b"close the other"]]
    first.hang_up()
    await first.end()


async def test_one_that_cannot_take_what_it_hears_keeps_nobody_else_from_it() -> None:
    on = Outputs(asyncio.get_running_loop())
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: failures.append(context["exception"])
    )

    def fail() -> None:
        raise ValueError("no")

    heard = [Heard(on, fail), Heard(on), Heard(on, fail)]
    for each in heard:
        each.say(b"hello")
        each.hang_up()
    assert [await each.end() for each in heard] == [b"hello"] * 3
    assert len(failures) == 2
