"""Keeps a set of child processes running and stops them in order.

One thread, one `select`: signals arrive over a wake-up socket and children report over pipes, so the
same loop serves Linux and macOS and no signal mask is blocked that a child could inherit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from apps.host import spawn

logger = logging.getLogger("kanban_agents.supervisor")

STEADY_AFTER = 30.0
LONGEST_DELAY = 10.0
# Its own work between two looks takes far less.
STOOD_STILL = 0.5
FIRST_BYTE_WITHIN = 60.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Child:
    """One process to keep alive.

    `start` gets the write end of a pipe and answers with the child's process id; what the child writes
    there says that it works. `silence`: seconds without a byte after which it is killed and started
    again (None: it never writes). `patience`: seconds from SIGTERM to SIGKILL when all is stopped.
    `stop_by`: the signal that asks it to stop. `stays`: it isn't stopped with the others; its owner does
    that afterwards.
    """

    name: str
    start: Callable[[int], int]
    patience: float = 3.0
    silence: float | None = None
    stop_by: signal.Signals = signal.SIGTERM
    stays: bool = False
    on_first_byte: Callable[[], None] | None = None


@dataclass
class _State:
    child: Child
    pid: int = 0
    report: int = -1
    started: float = 0.0
    heard: float = 0.0
    spoke: bool = False
    spoke_before: bool = False
    failures: int = 0
    due: float | None = field(default=None)


class Watcher(Protocol):
    def born(self, pid: int) -> None: ...

    def gone(self, pid: int) -> None: ...


class Supervisor:
    """`add` starts a child at once; `run` returns when the stop is complete.

    Must be used from the main thread. `watcher` is told every process id.
    `private` are descriptors that belong to this process alone: forked children close them.
    """

    def __init__(
        self,
        *,
        stop_order: tuple[str, ...],
        watcher: Watcher | None = None,
        private: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._states: dict[str, _State] = {}
        self._stop_order = stop_order
        self._watcher = watcher
        self._clock = clock
        self._listened = clock()
        self._stop_requests = 0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.settimeout(0)
        self._wake_write.settimeout(0)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._private = list(private)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            # What was started to be left alone (nohup, a shell's background job) stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_stop_signal)
        # Without a handler the wake-up descriptor isn't written to.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1

    @property
    def stopping(self) -> bool:
        return self._stop_requests > 0

    def add(self, child: Child) -> None:
        state = _State(child)
        self._states[child.name] = state
        self._start(state)

    def pids(self) -> dict[str, int]:
        return {name: state.pid for name, state in self._states.items() if state.pid}

    def private_descriptors(self) -> list[int]:
        """What a forked child must close: held open there, a pipe's end would outlive its owner."""
        own = [self._wake_read.fileno(), self._wake_write.fileno()]
        # epoll and kqueue are descriptors themselves; poll and select are not.
        if fileno := getattr(self._selector, "fileno", None):
            own.append(fileno())
        reports = [state.report for state in self._states.values() if state.report >= 0]
        return [*own, *reports, *self._private]

    def run(self) -> None:
        """Supervise until SIGTERM, SIGINT or SIGHUP, then stop everything."""
        self._listened = self._clock()
        while not self._stop_requests:
            self._turn(self._next_wait())
        self.stop()

    def _next_wait(self) -> float:
        now = self._clock()
        waits = [5.0]
        for state in self._states.values():
            if state.due is not None:
                waits.append(state.due - now)
            elif state.child.silence is not None and state.pid:
                waits.append(self._deadline(state) - now)
        return max(0.0, min(waits))

    def _deadline(self, state: _State) -> float:
        silence = state.child.silence or 0.0
        return state.heard + (silence if state.spoke else max(silence, FIRST_BYTE_WITHIN))

    def _turn(self, wait: float) -> None:
        until = self._listened + wait
        ready = self._selector.select(wait)
        now = self._listened = self._clock()
        # Stopped (Ctrl-Z, a sleeping laptop), here or since, it heard nobody: that is no silence of theirs.
        late = now - until
        if late > STOOD_STILL:
            for state in self._states.values():
                state.heard += late
        for key, _ in ready:
            if key.fileobj is self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    while self._wake_read.recv(4096):
                        pass
            else:
                self._hear(key.data)
        self._reap()
        if self._stop_requests:
            return
        for state in self._states.values():
            if state.due is not None and now >= state.due:
                self._start(state)
            elif state.pid and state.child.silence is not None and now >= self._deadline(state):
                logger.error(
                    "%s gave no sign of life for %.0f s; killing it",
                    state.child.name,
                    now - state.heard,
                )
                state.heard = now
                _signal_group(state.pid, signal.SIGKILL)

    def _hear(self, state: _State) -> None:
        try:
            data = os.read(state.report, 4096)
        except BlockingIOError:
            return
        if not data:
            self._close_report(state)
            return
        state.heard = self._clock()
        if not state.spoke:
            state.spoke = True
            if state.child.on_first_byte and not state.spoke_before:
                state.child.on_first_byte()
            state.spoke_before = True

    def _close_report(self, state: _State) -> None:
        if state.report >= 0:
            self._selector.unregister(state.report)
            os.close(state.report)
            state.report = -1

    def _start(self, state: _State) -> None:
        state.due = None
        read, write = os.pipe()
        os.set_blocking(read, False)
        state.report = read
        self._selector.register(read, selectors.EVENT_READ, state)
        try:
            state.pid = state.child.start(write)
        except OSError as error:
            logger.error("%s can't be started: %s", state.child.name, error)
            self._close_report(state)
            self._schedule(state)
            return
        finally:
            os.close(write)
        state.started = state.heard = self._clock()
        state.spoke = False
        if self._watcher:
            self._watcher.born(state.pid)

    def _schedule(self, state: _State) -> None:
        delay = min(LONGEST_DELAY, 0.1 * 2**state.failures)
        # The exponent is capped too: 2**n of a child that fails for days is a huge number.
        state.failures = min(state.failures + 1, 10)
        state.due = self._clock() + delay

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for state in self._states.values():
                if state.pid == pid:
                    self._ended(state, status)

    def _ended(self, state: _State, status: int) -> None:
        if self._watcher:
            self._watcher.gone(state.pid)
        # The group may hold helpers of the child that outlived it.
        _signal_group(state.pid, signal.SIGKILL)
        state.pid = 0
        self._close_report(state)
        if self._stop_requests:
            return
        if self._clock() - state.started >= STEADY_AFTER:
            state.failures = 0
        self._schedule(state)
        assert state.due is not None
        logger.error(
            "%s ended (%s); starting it again in %.1f s",
            state.child.name,
            spawn.describe_status(status),
            state.due - self._clock(),
        )

    def stop(self) -> None:
        """Ask to stop and, after its patience, SIGKILL one child after the other, in the stop order.

        A second stop signal ends the patience: whatever is left is killed at once.
        """
        self._stop_requests = max(self._stop_requests, 1)
        order = [name for name in self._stop_order if name in self._states]
        order += [name for name in self._states if name not in order]
        for name in order:
            state = self._states[name]
            state.due = None
            if not state.pid or state.child.stays:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, state.child.stop_by)
            limit = self._clock() + state.child.patience
            while state.pid and self._clock() < limit and self._stop_requests < 2:
                self._turn(min(0.5, max(0.0, limit - self._clock())))
            if state.pid:
                logger.warning("%s did not stop; killing it", name)
                _signal_group(state.pid, signal.SIGKILL)
                last = self._clock() + 2.0
                while state.pid and self._clock() < last:
                    self._turn(0.1)
        signal.set_wakeup_fd(-1)
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN if number in _STOP_SIGNALS else signal.SIG_DFL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, number)
