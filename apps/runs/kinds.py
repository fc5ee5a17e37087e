"""What can run: each kind of run registers its table and how it is claimed, run, taken over and finished.

The worker's loop knows nothing else of them, so sessions, scripts and the like share one claim, one lease,
one reaper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from apps.common.ids import public_id

if TYPE_CHECKING:
    from apps.runs.outputs import Outputs
    from apps.runs.sink import Sink

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A run that this worker owns as long as the row's fence is still this one."""

    kind: str
    run_id: int
    fence: int
    host_id: str
    worker_id: str

    @property
    def wire_id(self) -> str:
        return public_id(self.kind, self.run_id)

    @property
    def marker(self) -> str:
        """Value of BOARD_RUN in the environment of everything this run starts."""
        return f"{self.host_id}:{self.wire_id}.{self.fence}"


@dataclass
class Handle:
    """What the loop holds of a run in progress, and how it tells the run what happens around it."""

    claim: Claim
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    # The row has another fence, or is gone: write nothing more, only end the processes.
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    # The worker stops in an orderly way: leave the run so that it can be resumed.
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Somebody did something that the run should look at; what it is stands in its rows.
    news: asyncio.Event = field(default_factory=asyncio.Event)
    # Gives back what the run has for itself, once its processes are gone; called again where that failed.
    give_back: Callable[[], None] = lambda: None
    task: asyncio.Task[None] | None = None


class Surroundings(Protocol):
    """What the loop offers to a run."""

    sink: Sink
    outputs: Outputs

    async def database(self, function: Callable[[], T]) -> T:
        """Run short database work in a thread that keeps its connection; waits out an outage.

        The function is one transaction, or returns what its last one returned.
        """
        ...

    async def disk(self, function: Callable[[], T]) -> T:
        """Run slow work on disk (git, copying) in a pool of its own; again where the database failed it."""
        ...

    async def sweep(self, claim: Claim, *, below_fence: int | None = None) -> list[int]:
        """End the processes of the claim, or of the run's earlier ones; ids of those that can't be ended.

        At most 10 s, in a pool that neither git nor copying can fill; longer while the system can't say what
        runs.
        """
        ...


class Kind(Protocol):
    name: str

    def claim(self, worker_id: str, host_id: str, *, closing: bool) -> Claim | None:
        """Take the next run that may start, in a transaction of its own; None when there is none."""
        ...

    def owned(self, worker_id: str) -> dict[int, tuple[int, bool]]:
        """run id → (fence, cancel requested) of the runs that the worker owns, in one query."""
        ...

    def news(self, worker_id: str) -> set[int]:
        """The worker's runs for which people left something that can't wait for the end of a step."""

    def owners(self, host_id: str) -> set[str]:
        """Names of the workers that own runs of this host, whether they live or not."""
        ...

    def take_over(self, run_id: int, *, dead: str, worker_id: str, at: datetime) -> Claim | None:
        """Make a dead worker's run ours for the sweep, with a raised fence; None if somebody was first.

        `at` is the same for all runs that one look at the workers found without an owner.
        """
        ...

    def died_before(self, host_id: str, at: datetime) -> bool:
        """Whether runs of the host survived another death shortly before; asked before any is taken over."""
        ...

    def line_up(self, host_id: str, at: datetime) -> None:
        """If so: once all are taken over, and before any is released, say which goes on when."""
        ...

    def hosts(self) -> set[str]:
        """Hosts that have runs which are to go on there, or that are still owned."""
        ...

    def abandon(self, host_id: str) -> None:
        """The host is gone: its runs end here."""
        ...

    def release(self, claim: Claim) -> None:
        """After the sweep: nobody owns the run; if it was to be cancelled, it is cancelled now."""
        ...

    def interrupt(self, claim: Claim) -> None:
        """An orderly stop: the run goes on in another worker. Nothing happens if it isn't ours any more."""
        ...

    def say(self, claim: Claim, text: str) -> None:
        """Tell those who look at the run; nothing happens if it isn't ours any more."""
        ...

    def run(self, handle: Handle, around: Surroundings) -> Awaitable[None]:
        """Work on the run to its end: exactly one final status; raises only for what is a bug."""
        ...

    def fail(self, claim: Claim, code: str, message: str) -> None:
        """The run ended in a way nobody foresaw."""
        ...


@dataclass(frozen=True)
class DueJob:
    work: Callable[[str], None]
    every_s: float


_kinds: dict[str, Kind] = {}
_due: list[DueJob] = []


def register(kind: Kind) -> None:
    _kinds[kind.name] = kind


def kinds() -> list[Kind]:
    return list(_kinds.values())


def register_due(work: Callable[[str], None], *, every_s: float = 0) -> None:
    """Call it with the host's id, in the pool for disk work: every two seconds, or less often.

    It must be repeatable; one that fails has its turn again when it would have had it anyway.
    """
    _due.append(DueJob(work, every_s))


def due_jobs() -> list[DueJob]:
    return list(_due)
