"""The supervisor alone, with small children, in a process of its own (it takes over the signals)."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.server import ROOT, until

pytestmark = pytest.mark.process

PROGRAM = """
import os, signal, sys, time
from apps.host import spawn, supervisor
from apps.host.supervisor import Child, Supervisor

log = open({log!r}, "a", buffering=1)
supervisor.FIRST_BYTE_WITHIN = 0.5

def note(text):
    log.write(text + "\\n")

def child(name, body):
    def start(report):
        return spawn.fork(lambda: body(report), close=boss.private_descriptors())
    return start

def steady(report):
    note(f"steady {{os.getpid()}}")
    signal.signal(signal.SIGTERM, lambda *_: (note("steady ends"), os._exit(0)))
    while True:
        os.write(report, b".")
        time.sleep(0.05)

def stubborn(report):
    signal.signal(signal.SIGTERM, lambda *_: note("stubborn stays"))
    note(f"stubborn {{os.getpid()}}")
    while True:
        time.sleep(10)

def short(report):
    note(f"short {{time.monotonic()}}")

def falls_silent(report):
    note("talker begins")
    os.write(report, b".")
    time.sleep(100)

def never_speaks(report):
    note("mute begins")
    time.sleep(100)

boss = Supervisor(stop_order=("stubborn", "steady"))
{children}
note("started")
boss.run()
note("over")
"""


@contextmanager
def supervised(
    folder: Path, children: str, *before: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = folder / "log"
    log.touch()
    code = PROGRAM.format(log=str(log), children=children)
    process = subprocess.Popen([*before, sys.executable, "-c", code], cwd=ROOT)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def words(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_children_are_stopped_in_order_and_one_that_will_not_is_killed(tmp_path: Path) -> None:
    children = """
boss.add(Child("steady", child("steady", steady)))
boss.add(Child("stubborn", child("stubborn", stubborn), patience=0.5))
"""
    with supervised(tmp_path, children) as (process, log):
        until(lambda: len(words(log)) == 3, what="both children")
        process.terminate()
        assert process.wait(5) == 0
        assert words(log)[-3:] == ["stubborn stays", "steady ends", "over"]


def test_a_second_signal_ends_the_patience(tmp_path: Path) -> None:
    children = 'boss.add(Child("stubborn", child("stubborn", stubborn), patience=60))'
    with supervised(tmp_path, children) as (process, log):
        until(lambda: "started" in words(log) and len(words(log)) == 2, what="the child")
        process.send_signal(signal.SIGINT)
        until(lambda: "stubborn stays" in words(log), what="the first signal")
        process.send_signal(signal.SIGINT)
        assert process.wait(3) == 0


def test_a_child_that_keeps_ending_is_started_ever_more_slowly(tmp_path: Path) -> None:
    children = 'boss.add(Child("short", child("short", short)))'
    with supervised(tmp_path, children) as (_, log):
        until(lambda: sum("short" in line for line in words(log)) >= 5, what="five starts")
    times = [float(line.split()[1]) for line in words(log) if line.startswith("short")][:5]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert least <= wait < least + 1


@pytest.mark.parametrize(("body", "word"), [("falls_silent", "talker"), ("never_speaks", "mute")])
def test_a_silent_child_is_killed_and_started_again(tmp_path: Path, body: str, word: str) -> None:
    children = f'boss.add(Child("{word}", child("{word}", {body}), silence=0.3))'
    with supervised(tmp_path, children) as (_, log):
        until(lambda: words(log).count(f"{word} begins") >= 2, what="another start")


def test_a_child_that_speaks_is_left_alone(tmp_path: Path) -> None:
    children = 'boss.add(Child("steady", child("steady", steady), silence=0.5))'
    with supervised(tmp_path, children) as (_, log):
        until(lambda: len(words(log)) == 2, what="the child")
        time.sleep(1.5)
        assert sum("steady" in line for line in words(log)) == 1


def test_while_the_supervisor_stood_still_itself_nobody_was_silent(tmp_path: Path) -> None:
    children = """
boss.add(Child("steady", child("steady", steady), silence=1.0))
boss.add(Child("talker", child("talker", falls_silent), silence=1.0))
"""
    with supervised(tmp_path, children) as (process, log):
        for _ in range(3):
            # Also in the middle of its own work: right as it starts a child.
            before = words(log).count("talker begins")
            until(lambda before=before: words(log).count("talker begins") > before, what="a start")
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            process.send_signal(signal.SIGCONT)
        assert sum("steady" in line for line in words(log)) == 1


def test_forked_children_die_with_the_supervisor(tmp_path: Path) -> None:
    children = 'boss.add(Child("stubborn", child("stubborn", stubborn)))'
    with supervised(tmp_path, children) as (process, log):
        until(lambda: len(words(log)) == 2, what="the child")
        pid = next(int(line.split()[1]) for line in words(log) if line.startswith("stubborn"))
        process.kill()
        until(lambda: not Path(f"/proc/{pid}").exists(), timeout=2, what="its end")


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    children = 'boss.add(Child("steady", child("steady", steady)))'
    with supervised(tmp_path, children, "nohup") as (process, log):
        until(lambda: len(words(log)) == 2, what="the child")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(5) == 0
