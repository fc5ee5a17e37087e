"""One agent process, spoken to over the Agent Client Protocol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from acp import PROTOCOL_VERSION
from acp.connection import Connection
from acp.exceptions import RequestError

from apps.agents.presets import Preset
from apps.agents.runtime import failures
from apps.agents.runtime.failures import START_AGAIN, Failed, quoted
from apps.agents.runtime.people import People
from apps.agents.runtime.transcript import Transcript
from apps.agents.runtime.transport import GARBAGE_LIMIT, AgentTransport
from apps.host import processes
from apps.host.errors import SpawnFailed
from apps.runs.outputs import Outputs
from apps.runs.sink import Feed
from apps.runs.storing import storable

T = TypeVar("T")

CANCEL_GRACE_S = 1.0
STDERR_LINES = 40
LONGEST_ERROR = 2_000
LONGEST_SESSION_ID = 300
LONGEST_STOP_REASON = 40
# Of one turn; anything above it is no count, and many of them still add up to less than 64 bits.
MOST_TOKENS = 10**12


class Agent:
    """A running agent. Create it with `start`; `close` ends its whole process group."""

    def __init__(
        self,
        preset: Preset,
        process: processes.Process,
        feed: Feed,
        transcript: Transcript,
        people: People,
    ) -> None:
        self.preset = preset
        self.people = people
        self.process = process
        self.transcript = transcript
        self.session_id = ""
        self.capabilities: dict[str, Any] = {}
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        # Spawned with pipes for them.
        assert process.stdin is not None
        assert process.stderr is not None
        self.transport = AgentTransport(
            process.stdin, on_update=transcript.update, room=feed.room, full=lambda: feed.full
        )
        self.connection = Connection(self._answer, self.transport)
        self._stderr_task = asyncio.create_task(self._read_stderr(process.stderr))

    @classmethod
    async def start(
        cls,
        preset: Preset,
        *,
        cwd: Path,
        environment: dict[str, str],
        marker: str,
        feed: Feed,
        transcript: Transcript,
        people: People,
        outputs: Outputs,
    ) -> Agent:
        reading, writing = os.pipe()
        try:
            process = await processes.spawn(
                list(preset.command), cwd=cwd, env=environment, marker=marker, stdout=writing
            )
        except BaseException as error:
            os.close(reading)
            if not isinstance(error, SpawnFailed):
                raise
            said = storable(transcript.secrets.mask(f"{preset.name} can't be started. {error}"))
            raise Failed("agent_start_failed", said) from None
        finally:
            os.close(writing)
        agent = cls(preset, process, feed, transcript, people)
        outputs.attach(reading, agent.transport)
        return agent

    async def initialize(self) -> None:
        answer = await self._within(
            self.preset.start_seconds,
            self._call(
                "initialize",
                {
                    "protocolVersion": PROTOCOL_VERSION,
                    "clientCapabilities": {
                        "fs": {"readTextFile": False, "writeTextFile": False},
                        "terminal": False,
                        "elicitation": {"form": {}},
                    },
                    "clientInfo": {"name": "kanban-agents", "version": "0"},
                },
            ),
        )
        capabilities = answer.get("agentCapabilities")
        self.capabilities = capabilities if isinstance(capabilities, dict) else {}

    async def open_session(self, cwd: Path, earlier: str | None) -> bool:
        """Take up the earlier session, or make a new one; True when the earlier one goes on."""
        if earlier and await self._take_up(cwd, earlier):
            self.session_id = earlier
            return True
        answer = await self._within(
            self.preset.start_seconds,
            self._call("session/new", {"cwd": str(cwd), "mcpServers": []}),
        )
        session_id = answer.get("sessionId")
        if not isinstance(session_id, str) or not session_id:
            raise self._failed(
                Failed("agent_protocol", f"{self.preset.name} opened a session without a name.")
            )
        if len(session_id) > LONGEST_SESSION_ID or storable(session_id) != session_id:
            raise self._failed(
                Failed(
                    "agent_protocol",
                    f"{self.preset.name} opened a session whose name can't be stored: it is longer than"
                    f" {LONGEST_SESSION_ID} characters or no text.",
                )
            )
        self.session_id = session_id
        return False

    async def _take_up(self, cwd: Path, earlier: str) -> bool:
        sessions = self.capabilities.get("sessionCapabilities")
        if isinstance(sessions, dict) and sessions.get("resume") is not None:
            method = "session/resume"
        elif self.capabilities.get("loadSession"):
            method = "session/load"
        else:
            return False
        self.transcript.loading = True
        try:
            await self._within(
                self.preset.start_seconds,
                self._call(method, {"sessionId": earlier, "cwd": str(cwd), "mcpServers": []}),
            )
        except Failed as failed:
            if failed.code in ("auth_failed", "agent_start_failed", "agent_died"):
                raise
            return False
        finally:
            self.transcript.loading = False
        return True

    async def set_mode(self, mode: str) -> None:
        await self._within(
            self.preset.start_seconds,
            self._call("session/set_mode", {"sessionId": self.session_id, "modeId": mode}),
        )

    async def prompt(self, text: str) -> dict[str, Any]:
        """One turn: its `stopReason` and `usage`, both fit to be stored.

        Raises Failed when the agent dies, errs, or is silent for too long.
        """
        call = asyncio.ensure_future(
            self._call(
                "session/prompt",
                {"sessionId": self.session_id, "prompt": [{"type": "text", "text": text}]},
            )
        )
        self.transport.heard_at = time.monotonic()
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=1.0)
                if done:
                    return self._checked(call.result())
                self._check_silence()
        finally:
            if not call.done():
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError, Failed):
                    await call

    async def cancel(self) -> None:
        """Ask the agent to end its turn; whether it does is the caller's to watch.

        What it asked people is answered as cancelled: some agents wait for that answer before they end.
        """
        # An agent that reads nothing must not hold up its own end.
        with contextlib.suppress(ConnectionError, OSError, TimeoutError):
            await asyncio.wait_for(
                self.connection.send_notification("session/cancel", {"sessionId": self.session_id}),
                CANCEL_GRACE_S,
            )
        self.people.withdraw()

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.connection.close(), 1)
        await processes.terminate(self.process, grace=0.2)
        self.transport.stop()
        self._stderr_task.cancel()
        await asyncio.gather(self._stderr_task, return_exceptions=True)

    def _check_silence(self) -> None:
        if self.people.asked:
            self.transport.heard_at = time.monotonic()
        if self.transport.paused or self.people.asked:
            return
        now, name = time.monotonic(), self.preset.name
        tool_since = self.transcript.open_tool_since
        if tool_since is None and now - self.transport.heard_at > self.preset.silence_seconds:
            raise self._failed(
                Failed(
                    "agent_silent",
                    f"{name} said nothing for {self.preset.silence_seconds:.0f} s and was stopped."
                    " Send a message to go on.",
                )
            )
        if tool_since is not None and now - tool_since > self.preset.tool_seconds:
            raise self._failed(
                Failed(
                    "tool_too_long",
                    f"A command of {name} ran for more than {self.preset.tool_seconds:.0f} s and was"
                    " stopped. Send a message to go on.",
                )
            )
        if self.transport.garbage_lines > GARBAGE_LIMIT:
            raise self._failed(
                Failed(
                    "agent_protocol", f"{name} prints text that is no message: {self._garbage()}"
                )
            )

    def _failed(self, failed: Failed) -> Failed:
        """The same without secrets, storable, and not endless: every failure goes through here."""
        message = self._shown(failed.message)
        if len(message) > LONGEST_ERROR:
            message = message[:LONGEST_ERROR] + "…"
        return Failed(failed.code, message, retry_after=failed.retry_after)

    def _shown(self, text: str) -> str:
        return storable(self.transcript.secrets.mask(text))

    def _garbage(self) -> str:
        return failures.tail(self._shown(line)[:200] for line in self.transport.garbage)

    def _said(self, lines: Iterable[str]) -> str:
        # Masked before it is cut: half a secret is not found any more.
        return failures.tail([self._shown("\n".join(lines))])

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        reason = self._shown(str(answer.get("stopReason") or "end_turn"))
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return {
            "stopReason": reason[:LONGEST_STOP_REASON],
            "usage": {
                str(name): min(max(count, 0), MOST_TOKENS)
                for name, count in usage.items()
                if isinstance(count, int) and not isinstance(count, bool)
            },
        }

    async def _within(self, seconds: float, awaitable: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(awaitable, seconds)
        except TimeoutError:
            said = self._said([*self.stderr, self._garbage()])
            raise self._failed(
                Failed(
                    "agent_start_failed",
                    f"{self.preset.name} did not answer within {seconds:.0f} s."
                    + (f" It printed: {quoted(said)}" if said else " It printed nothing.")
                    + START_AGAIN,
                )
            ) from None

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.connection.send_request(method, params)
        except RequestError as error:
            raise self._failed(
                failures.from_rpc(
                    self.preset.name, error.code, str(error), error.data, self._said(self.stderr)
                )
            ) from None
        except (ConnectionError, OSError):
            raise await self._died(starting=method != "session/prompt") from None
        return answer if isinstance(answer, dict) else {}

    async def _died(self, *, starting: bool) -> Failed:
        returncode: int | None = None
        with contextlib.suppress(TimeoutError):
            returncode = await asyncio.wait_for(self.process.wait(), 2)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._stderr_task), 0.5)
        said = self._said([self._garbage(), *self.stderr])
        return self._failed(failures.died(self.preset.name, returncode, said, starting=starting))

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last lines; whatever the length of a line, memory stays bounded."""
        rest = b""
        while chunk := await stderr.read(1 << 14):
            *lines, rest = (rest + chunk).split(b"\n")
            self.stderr.extend(line[-2_000:].decode(errors="replace") for line in lines)
            rest = rest[-2_000:]
        if rest:
            self.stderr.append(rest.decode(errors="replace"))

    async def _answer(self, method: str, params: Any, is_notification: bool) -> Any:  # noqa: FBT001
        """What the agent asks of us."""
        if is_notification:
            return None
        params = params if isinstance(params, dict) else {}
        if method == "session/request_permission":
            return {"outcome": await self.people.permission(params)}
        if method == "elicitation/create":
            return await self.people.question(params)
        raise RequestError.method_not_found(method)
