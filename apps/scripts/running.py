"""One run of a script in the worker: from its claim to the end of everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator

from apps.host import paths, processes
from apps.host.errors import HostError
from apps.runs.kinds import Claim, Handle, Surroundings
from apps.runs.masking import Secrets
from apps.scripts import attempts
from apps.scripts.attempts import NotOurs, Setting
from apps.scripts.lines import ScriptLines
from apps.scripts.output import Output

logger = logging.getLogger(__name__)

# Between SIGTERM and SIGKILL: for somebody who cancels, and for a server that itself has 10 s to stop.
CANCEL_GRACE_S = 5.0
STOP_GRACE_S = 1.5
PRUNE_EVERY_S = 1.0


async def run_script(handle: Handle, around: Surroundings) -> None:
    claim = handle.claim
    try:
        setting = await around.disk(lambda: attempts.setting(claim))
        if setting is not None:
            await _run(handle, around, setting)
    except NotOurs:
        handle.lost.set()


async def _may_start(handle: Handle, around: Surroundings) -> bool:
    """Right before the start: who waited for the disk until here may have been cancelled, or replaced."""
    claim = handle.claim
    # What has not begun by then begins in the next worker.
    if handle.stop.is_set() or not await around.database(lambda: attempts.begin(claim)):
        return False
    if handle.stop.is_set():
        await around.database(lambda: attempts.interrupted(claim))
    return not any(event.is_set() for event in (handle.cancel, handle.stop, handle.lost))


async def _run(handle: Handle, around: Surroundings, setting: Setting) -> None:
    claim = handle.claim
    secrets = Secrets(setting.secrets)
    feed = around.sink.feed(ScriptLines(), claim.run_id, claim.fence, handle.lost.set)
    output = Output(feed, secrets)
    try:
        await around.disk(lambda: paths.unmoved(setting.directory))
        if not await _may_start(handle, around):
            return
        process = await _start(setting, claim, output, around)
    except HostError as error:
        message = secrets.mask(str(error))
        code = error.code or "start_failed"
        await around.database(lambda: attempts.failed(claim, code, message))
        return
    try:
        async with _pruned(claim, output, around):
            status, stopped = await _ended(handle, process)
            # Nothing is said to have ended while something of it still works, or prints.
            await around.sweep(claim)
            await output.finish()
    finally:
        output.stop()
    if not handle.lost.is_set():
        await around.database(lambda: attempts.ended(claim, status, stopped=stopped))


async def _start(
    setting: Setting, claim: Claim, output: Output, around: Surroundings
) -> processes.Process:
    reading, writing = os.pipe()
    try:
        process = await processes.spawn(
            ["/bin/sh", "-c", setting.command],
            cwd=setting.directory,
            env=setting.environment,
            marker=claim.marker,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    around.outputs.attach(reading, output)
    return process


async def _ended(handle: Handle, process: processes.Process) -> tuple[int, bool]:
    """Its exit status once it has ended, and whether the server's own stop was what ended it."""
    exited = asyncio.create_task(process.wait())
    asked = [
        asyncio.create_task(event.wait()) for event in (handle.cancel, handle.stop, handle.lost)
    ]
    try:
        await asyncio.wait({exited, *asked}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return exited.result(), False
        stopped = handle.stop.is_set() and not handle.cancel.is_set()
        grace = STOP_GRACE_S if handle.stop.is_set() else CANCEL_GRACE_S
        if handle.lost.is_set():
            grace = 0.0
        return await processes.terminate_group(process, grace), stopped
    finally:
        for task in (exited, *asked):
            task.cancel()


@contextlib.asynccontextmanager
async def _pruned(claim: Claim, output: Output, around: Surroundings) -> AsyncIterator[None]:
    """Meanwhile, and once at the end, what is no longer worth keeping is removed from the rows."""
    pruned = 0

    async def prune() -> None:
        nonlocal pruned
        before = output.kept_from
        if before > pruned:
            await around.database(lambda: attempts.prune(claim, before))
            pruned = before

    async def again_and_again() -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            try:
                await prune()
            except Exception:
                logger.exception(
                    "%s: old output can't be removed; it is tried again", claim.wire_id
                )

    task = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await prune()
