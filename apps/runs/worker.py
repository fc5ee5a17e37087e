"""The worker's loop: one asyncio loop in a thread of its own that owns every agent and script process.

Started beside Celery in the worker process; Celery tasks only wake it. Processes are spawned from this
thread, because a child's PDEATHSIG fires when the thread that forked it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from datetime import datetime
from functools import partial

from django.conf import settings
from django.utils import timezone

from apps.host import sweeping
from apps.host.disk import free_bytes, host_id, is_locked
from apps.host.environment import work_as
from apps.runs import leases, limits
from apps.runs.kinds import Claim, DueJob, Handle, Kind, due_jobs, kinds
from apps.runs.outputs import Outputs
from apps.runs.sink import Sink
from apps.runs.threads import Threads

logger = logging.getLogger(__name__)

TICK_S = 2.0
FLAGS_S = 1.0
# Of an orderly stop; the whole server has 10 s.
STOP_WITHIN_S = 5.0


class Loop(Threads):
    """See the module. Everything here runs in the loop's thread unless it says otherwise."""

    def __init__(self, heartbeat_fd: int | None) -> None:
        super().__init__()
        self.heartbeat_fd = heartbeat_fd
        self.data_dir = settings.DATA_DIR
        self.host_id = host_id(self.data_dir)
        self.wake = asyncio.Event()
        self.stopping = asyncio.Event()
        self.sink = Sink()
        self.outputs = Outputs(self.loop)
        self.handles: dict[tuple[str, int], Handle] = {}
        self.letting_go: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.told_stuck: set[tuple[str, int, int]] = set()

    async def main(self) -> None:
        # First: a worker that waits for the database is alive.
        pulse = asyncio.create_task(_forever(self._pulse()))
        await self.database(self._sign_on)
        self.observer = leases.Observer(self.lease.worker_id, self.host_id, self.data_dir)
        self.sink.start(self.loop)
        logger.info("worker %s of host %s is up", self.lease.worker_id, self.host_id)
        jobs = [self._beat(), self._flags(), self._due(), self._hosts()]
        tasks = [pulse, *(asyncio.create_task(_forever(job)) for job in jobs)]
        self.sweep_dead_workers()
        tick = asyncio.create_task(_forever(self._tick()))
        await self.stopping.wait()
        until = time.monotonic() + STOP_WITHIN_S
        for handle in self.handles.values():
            handle.stop.set()
        # Not cancelled: a claim that is being committed must get its handle, or nobody would end it.
        self.wake.set()
        await asyncio.wait({tick}, timeout=1)
        for task in (tick, *tasks, *self.letting_go.values()):
            task.cancel()
        await asyncio.gather(tick, *tasks, return_exceptions=True)
        await self._stop_runs(until - 2)
        await self.loop.run_in_executor(None, self.sink.close, until - 0.5 - time.monotonic())
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._sign_off(), until - time.monotonic())
        self.lease.lock.release()

    async def _sign_off(self) -> None:
        """Runs that ended too slowly are left as interrupted, which is no crash.

        The worker's row stays while it owns anything: by it the next one finds what to sweep and go on with.
        """
        worker_id, owns = self.lease.worker_id, False
        for kind in kinds():
            owned = await self.database(partial(kind.owned, worker_id))
            for run_id, (fence, _cancel) in owned.items():
                owns = True
                claim = Claim(kind.name, run_id, fence, self.host_id, worker_id)
                await self.database(partial(kind.interrupt, claim))
                logger.info("%s did not end in time and is left to the next worker", claim.wire_id)
        if not owns:
            await self.database(lambda: leases.sign_off(worker_id, self.data_dir))

    async def _stop_runs(self, until: float) -> None:
        for handle in self.handles.values():
            handle.stop.set()
        tasks = [handle.task for handle in self.handles.values() if handle.task]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, until - time.monotonic()))

    async def _pulse(self) -> None:
        """A byte a second to the supervisor: a loop that hangs is killed and restarted by it."""
        while True:
            if self.heartbeat_fd is not None:
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    os.write(self.heartbeat_fd, b".")
            await asyncio.sleep(1)

    async def _beat(self) -> None:
        while True:
            started = time.monotonic()
            alive = await self.database(lambda: leases.beat(self.lease.worker_id), self.beat_pool)
            if time.monotonic() - started > leases.DEAD_AFTER_S / 3:
                self.observer.database_was_gone()
            if not alive:
                # Somebody took us for dead: our runs have other fences, and _flags will find that out.
                await self.database(self._sign_on_again, self.beat_pool)
            self.observer.beaten_at = time.monotonic()
            await asyncio.sleep(leases.BEAT_EVERY_S)

    def _sign_on(self) -> None:
        self.lease = leases.register(self.data_dir, self.host_id, os.getpid())
        # Before anything is claimed, so that nothing ever runs under the name of a worker without a lock.
        work_as(self.lease.worker_id)

    def _sign_on_again(self) -> None:
        """Under a new name: the old one has been declared dead, and its lock file is gone."""
        old = self.lease
        self._sign_on()
        self.observer.worker_id = self.lease.worker_id
        old.lock.release()

    async def _flags(self) -> None:
        """Tell each run what its row says: asked to cancel, or taken over by somebody else."""
        while True:
            await asyncio.sleep(FLAGS_S)
            await self.read_flags()

    async def read_flags(self) -> None:
        for kind in kinds():
            mine = {key[1]: h for key, h in self.handles.items() if key[0] == kind.name}
            if not mine:
                continue
            owned, news = await self.database(partial(self._look, kind))
            for run_id in news & mine.keys():
                mine[run_id].news.set()
            for run_id, handle in mine.items():
                fence, cancel = owned.get(run_id, (None, False))
                if fence != handle.claim.fence:
                    handle.lost.set()
                elif cancel:
                    handle.cancel.set()

    # The lease is read when the database answers: it may have been renewed while that was gone.

    def _owned(self, kind: Kind) -> dict[int, tuple[int, bool]]:
        return kind.owned(self.lease.worker_id)

    def _claimed(self, kind: Kind, *, closing: bool) -> Claim | None:
        return kind.claim(self.lease.worker_id, self.host_id, closing=closing)

    def _look(self, kind: Kind) -> tuple[dict[int, tuple[int, bool]], set[int]]:
        return kind.owned(self.lease.worker_id), kind.news(self.lease.worker_id)

    async def _tick(self) -> None:
        """Every two seconds adopt and claim; at once when woken claim."""
        looked_at = float("-inf")
        while not self.stopping.is_set():
            if time.monotonic() - looked_at >= TICK_S:
                looked_at = time.monotonic()
                await self._adopt()
            if self.wake.is_set():
                self.wake.clear()
                await self.read_flags()
            await self._reconcile()
            await self._claim()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), TICK_S)

    async def _due(self) -> None:
        next_at: dict[DueJob, float] = {}
        while True:
            for job in due_jobs():
                if time.monotonic() < next_at.get(job, 0):
                    continue
                next_at[job] = time.monotonic() + job.every_s
                try:
                    await self.disk(partial(job.work, self.host_id))
                except Exception:
                    logger.exception("%s failed; it is tried again", job.work)
            await asyncio.sleep(TICK_S)

    async def _reconcile(self) -> None:
        """Let go of rows that are ours but that nobody here works on.

        Runs of dead workers that were taken over, a claim whose COMMIT was answered by a broken connection,
        a run whose processes could not be killed at its end. Called between claims, so that none is on its
        way.
        """
        for kind in kinds():
            owned = await self.database(partial(self._owned, kind))
            for run_id, (fence, _cancel) in owned.items():
                key = (kind.name, run_id)
                if key not in self.handles and key not in self.letting_go:
                    claim = Claim(kind.name, run_id, fence, self.host_id, self.lease.worker_id)
                    task = asyncio.create_task(self._let_go(kind, claim), name=claim.wire_id)
                    self.letting_go[key] = task

    async def _let_go(self, kind: Kind, claim: Claim) -> None:
        """Beside the tick: a process that can't be killed holds up its own run only."""
        try:
            await self._is_let_go(kind, Handle(claim), below_fence=claim.fence + 1)
        finally:
            self.letting_go.pop((kind.name, claim.run_id), None)
            self.wake.set()

    async def _is_let_go(self, kind: Kind, handle: Handle, below_fence: int | None = None) -> bool:
        """Sweep, then let go of the row: only then may another run use the same place.

        False, a tick later, where something is left or anything goes wrong.
        """
        claim = handle.claim
        try:
            stuck = await self.sweep(claim, below_fence=below_fence)
            if not stuck:
                handle.give_back()
                if not handle.lost.is_set():
                    await self.database(lambda: kind.release(claim))
                return True
            await self._tell_stuck(kind, claim, stuck)
        except Exception:
            logger.exception("%s can't be let go; it is tried again", claim.wire_id)
        await asyncio.sleep(TICK_S)
        return False

    async def _tell_stuck(self, kind: Kind, claim: Claim, pids: list[int]) -> None:
        """Once an attempt: its row stays ours, so that nothing else is started in its place."""
        key = (kind.name, claim.run_id, claim.fence)
        if key in self.told_stuck:
            return
        self.told_stuck.add(key)
        logger.error("%s: processes %s can't be ended", claim.wire_id, pids)
        text = sweeping.stuck_sentence(pids)
        await self.database(lambda: kind.say(claim, text))

    async def _claim(self) -> None:
        if time.monotonic() - self.observer.beaten_at >= leases.DEAD_AFTER_S:
            # Others may have taken this worker for dead; what it claims under that name, they would take.
            return
        closing = free_bytes(self.data_dir) < limits.LOW_DISK_BYTES
        for kind in kinds():
            while not self.stopping.is_set():
                claim = await self.database(partial(self._claimed, kind, closing=closing))
                if claim is None:
                    break
                self._start(kind, claim)

    def _start(self, kind: Kind, claim: Claim) -> None:
        key = (kind.name, claim.run_id)
        if key in self.handles:
            # A failover has lost the claim that this run has. Once it has ended, `_reconcile` lets go of the
            # new one, whose fence may be the same: both are swept before anybody begins again.
            self.handles[key].lost.set()
            return
        handle = self.handles[key] = Handle(claim)
        handle.task = asyncio.create_task(self._run(kind, handle), name=claim.wire_id)

    async def _run(self, kind: Kind, handle: Handle) -> None:
        claim = handle.claim
        try:
            await kind.run(handle, self)
        except Exception as error:
            logger.exception("%s ended unexpectedly", claim.wire_id)
            text = f"The server stumbled over this run ({type(error).__name__}); its log has the details."
            await self.database(lambda: kind.fail(claim, "internal", text))
        finally:
            await self._end(kind, handle)

    async def _end(self, kind: Kind, handle: Handle) -> None:
        try:
            while not await self._is_let_go(kind, handle):
                pass
        finally:
            key = (kind.name, handle.claim.run_id)
            if self.handles.get(key) is handle:
                del self.handles[key]
            self.wake.set()

    async def sweep(self, claim: Claim, *, below_fence: int | None = None) -> list[int]:
        def work() -> list[int]:
            return sweeping.sweep_run(
                claim.host_id,
                claim.wire_id,
                fence=claim.fence if below_fence is None else None,
                below_fence=below_fence,
            )

        while True:
            try:
                return await self.loop.run_in_executor(self.sweep_pool, work)
            except OSError as error:
                # Without descriptors or memory nobody knows what is left of it.
                logger.error("%s: can't look for its processes (%s); again", claim.wire_id, error)
                await asyncio.sleep(TICK_S)

    async def _adopt(self) -> None:
        """Make dead workers' runs ours; `_reconcile` sweeps and releases them."""
        dead = await self.database(self._dead)
        if not dead:
            return
        logger.warning("dead: worker %s; their runs go on here", ", ".join(dead))
        self.sweep_dead_workers()
        at = timezone.now()
        for kind in kinds():
            again = await self.database(partial(kind.died_before, self.host_id, at))
            for worker_id in dead:
                owned = await self.database(partial(kind.owned, worker_id))
                for run_id in owned:
                    await self._take_over(kind, run_id, worker_id, at)
            if again:
                await self.database(partial(kind.line_up, self.host_id, at))
        for worker_id in dead:
            await self.database(partial(self.observer.forget, worker_id))
        # Again: only now is the lock gone of one that stands still.
        self.sweep_dead_workers()

    def sweep_dead_workers(self) -> asyncio.Future[None]:
        """It goes on by itself, whether it is awaited or not.

        A deleted card takes its session along: there is nothing to take over, and so nothing else that
        would look for the processes.
        """
        return self.loop.run_in_executor(self.sweep_pool, self._sweep_dead_workers)

    def _sweep_dead_workers(self) -> None:
        locks = leases.locks(self.data_dir)
        try:
            left = sweeping.sweep_dead_workers(
                self.host_id, lambda worker_id: is_locked(locks / worker_id)
            )
            if left:
                logger.error("processes %s of dead workers can't be ended", left)
        except Exception:
            logger.exception("what dead workers have left could not be looked for")

    def _dead(self) -> list[str]:
        """Dead workers of this host, and names that own something but have no row (any more)."""
        dead = self.observer.dead()
        owners = {owner for kind in kinds() for owner in kind.owners(self.host_id)}
        return dead + leases.without_row(owners - {*dead, self.lease.worker_id})

    async def _take_over(self, kind: Kind, run_id: int, dead: str, at: datetime) -> None:
        def work() -> None:
            if self.observer.is_still_dead(dead):
                kind.take_over(run_id, dead=dead, worker_id=self.lease.worker_id, at=at)

        try:
            await self.database(work)
        except Exception:
            # One row that can't be understood must not end every worker that comes upon it.
            logger.exception("%s %s can't be taken over; it is tried again", kind.name, run_id)

    async def _hosts(self) -> None:
        """End the runs of hosts that have lost all their workers."""
        while True:
            await asyncio.sleep(settings.HOST_GONE_AFTER_S / 10)
            hosts: set[str] = set()
            for kind in kinds():
                hosts |= await self.database(kind.hosts)
            gone = await self.database(partial(self.observer.gone_hosts, hosts))
            for host in gone:
                logger.error("no worker of host %s is left; its runs end", host)
                await self._abandon(host)

    async def _abandon(self, host: str) -> None:
        def work(kind: Kind) -> None:
            if self.observer.is_still_gone(host):
                kind.abandon(host)

        left: set[str] = set()
        for kind in kinds():
            await self.database(partial(work, kind))
            left |= await self.database(kind.hosts)
        if host not in left:
            await self.database(lambda: self.observer.forget_host(host))


async def _forever(job: object) -> None:
    try:
        await job  # type: ignore[misc]
    except asyncio.CancelledError:
        raise
    except BaseException:
        # A worker whose loop has lost a limb must not look alive: the supervisor starts another.
        logger.exception("the worker's loop broke")
        os._exit(70)
