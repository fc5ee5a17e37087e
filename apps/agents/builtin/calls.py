"""One tool call from the model's JSON to the answer it gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from acp import RequestError
from pydantic import BaseModel, ValidationError

from apps.agents.builtin.client import SessionClient
from apps.agents.builtin.mcp import McpArguments, McpServers
from apps.agents.builtin.prompts import plan_file
from apps.agents.builtin.store import Session
from apps.agents.builtin.tools import (
    TOOLS,
    AskUser,
    Description,
    EditFile,
    ExitPlanMode,
    ListFiles,
    ReadFile,
    RunCommand,
    Search,
    Tool,
    ToolFailureError,
    WriteFile,
    WriteTodos,
    offered,
)
from apps.agents.builtin.workbench import Workbench

Outcome = Literal["success", "failed", "denied", "interrupted"]
After = Literal["go_on", "end_turn", "cancelled"]


@dataclass(frozen=True)
class Answer:
    """What the model gets, and whether the turn goes on after it."""

    text: str
    outcome: Outcome = "success"
    after: After = "go_on"


def parse_arguments(raw: str | dict[str, Any] | None) -> Any:
    """The arguments as JSON, or the text itself if it is none."""
    if not isinstance(raw, str):
        return raw or {}
    try:
        return json.loads(raw) if raw.strip() else {}
    except ValueError:
        return raw


def _one_line(text: str, most: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


class ToolRunner:
    """Runs the tool calls of one session, one after the other."""

    def __init__(
        self, session: Session, bench: Workbench, client: SessionClient, servers: McpServers
    ) -> None:
        self._session = session
        self._bench = bench
        self._client = client
        self._servers = servers

    async def run(self, call_id: str, name: str, raw: str | dict[str, Any] | None) -> Answer:
        """Run a call and show it to the client from start to end.

        A cancelled call is shown as failed before the cancellation goes on.
        """
        arguments = parse_arguments(raw)
        tool = TOOLS.get(name) or self._foreign(name)
        started = False
        shown = Description(name)
        try:
            try:
                order = self._order(tool, name, arguments)
                assert tool is not None
                shown = self._describe(tool, order)
                asks = self._asks(tool)
                await self._client.tool_started(
                    call_id,
                    tool,
                    shown,
                    arguments,
                    status="pending" if asks else "in_progress",
                )
                started = True
                answer = await self._guarded(call_id, tool, order, shown, arguments, asks=asks)
            except ToolFailureError as failure:
                answer = Answer(str(failure), "failed")
            except RequestError as problem:
                answer = Answer(f"The person could not be asked: {problem}", "failed")
            if not started:
                await self._client.tool_started(call_id, tool, shown, arguments)
            await self._client.tool_ended(
                call_id, answer.text, ok=answer.outcome == "success", keep_content=bool(shown.diff)
            )
        except asyncio.CancelledError:
            if started:
                with contextlib.suppress(ConnectionError):
                    await self._client.tool_ended(
                        call_id, "Cancelled.", ok=False, keep_content=False
                    )
            raise
        return answer

    def _order(self, tool: Tool | None, name: str, arguments: Any) -> BaseModel:
        mode = self._session.mode
        names = [own.name for own in offered(mode)]
        names += [foreign.name for foreign in self._servers.offered(mode)]
        if tool is None or name not in names:
            why = "is not available in plan mode" if tool else "does not exist"
            raise ToolFailureError(f"The tool {name} {why}. Available: {', '.join(names)}.")
        try:
            return tool.arguments.model_validate(arguments)
        except ValidationError as problem:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}"
                for fault in problem.errors()
            )
            raise ToolFailureError(f"The arguments of {name} are not valid: {faults}.") from None

    def _foreign(self, name: str) -> Tool | None:
        """A tool of an MCP server."""
        if found := self._servers.tools.get(name):
            return Tool(name, McpArguments, "other", changes=not found.reads_only)
        return None

    def _asks(self, tool: Tool) -> bool:
        session = self._session
        return tool.name == "exit_plan_mode" or (
            session.mode == "ask" and tool.changes and tool.name not in session.allowed
        )

    def _describe(self, tool: Tool, order: BaseModel) -> Description:
        """Raises ToolFailureError for a path outside, before anybody is asked for permission."""
        bench = self._bench
        match order:
            case ReadFile():
                return Description(f"Read {bench.shown(order.path)}", [bench.absolute(order.path)])
            case WriteFile():
                path = bench.absolute(order.path)
                old = bench.old_text(order.path)
                return Description(
                    f"Write {bench.shown(order.path)}", [path], (path, old, order.content)
                )
            case EditFile():
                path = bench.absolute(order.path)
                diff = (path, order.old_string, order.new_string)
                return Description(f"Edit {bench.shown(order.path)}", [path], diff)
            case ListFiles():
                where = bench.shown(order.path)
                what = f"{order.glob} in {where}" if order.glob else where
                return Description(f"List {what}", [bench.absolute(order.path)])
            case Search():
                where = bench.absolute(order.path)
                return Description(
                    f"Search {_one_line(order.pattern, 60)} in {order.path}", [where]
                )
            case RunCommand():
                return Description(_one_line(order.command))
            case WriteTodos():
                return Description("Update the todo list")
            case AskUser():
                return Description(_one_line(order.questions[0].question))
            case ExitPlanMode():
                return Description("Approve the plan", text=self._plan(order))
            case McpArguments():
                found = self._servers.tools[tool.name]
                return Description(f"{found.server.name}: {found.remote}")
        return Description(tool.name)

    def _plan(self, order: ExitPlanMode) -> str:
        if order.plan.strip():
            return order.plan
        try:
            text = plan_file(self._session.id).read_text("utf-8")
        except (OSError, ValueError):
            text = ""
        if not text.strip():
            raise ToolFailureError("The plan is empty. Give it as `plan`.")
        return text

    async def _guarded(
        self,
        call_id: str,
        tool: Tool,
        order: BaseModel,
        shown: Description,
        arguments: Any,
        *,
        asks: bool,
    ) -> Answer:
        if isinstance(order, ExitPlanMode):
            return await self._exit_plan(call_id, tool, shown)
        if asks:
            verdict = await self._client.may_run(call_id, tool, shown, arguments)
            if verdict == "cancelled":
                return Answer("The turn was cancelled.", "denied", "cancelled")
            if verdict == "rejected":
                return Answer(
                    "The person rejected this. Do not try it another way; say what it was for, "
                    "or go on without it.",
                    "denied",
                )
            if verdict == "always":
                self._session.allowed.add(tool.name)
            await self._client.tool_running(call_id)
        if isinstance(order, McpArguments):
            return Answer(await self._servers.call(tool.name, order.model_dump()))
        return Answer(await self._do(call_id, order))

    async def _do(self, call_id: str, order: BaseModel) -> str:
        bench = self._bench
        match order:
            case ReadFile():
                return bench.read_file(order)
            case WriteFile():
                return bench.write_file(order)
            case EditFile():
                return bench.edit_file(order)
            case ListFiles():
                return await bench.list_files(order)
            case Search():
                return await bench.search(order)
            case RunCommand():
                return await bench.run_command(order)
            case WriteTodos():
                self._session.todo = [item.model_dump() for item in order.todos]
                await self._client.todo(self._session.todo)
                return "The todo list is updated."
            case AskUser():
                return await self._ask(call_id, order)
        raise AssertionError(f"no code for {type(order).__name__}")

    async def _ask(self, call_id: str, order: AskUser) -> str:
        if not self._client.answers_questions:
            raise ToolFailureError(
                "Nobody can answer questions here. Decide by yourself and say what you assumed."
            )
        answers = await self._client.ask(call_id, order)
        if answers is None:
            raise ToolFailureError("The person did not answer. Decide by yourself, or end here.")
        return "\n".join(f"{question}\n> {answer}" for question, answer in answers.items())

    async def _exit_plan(self, call_id: str, tool: Tool, shown: Description) -> Answer:
        verdict = await self._client.approve_plan(call_id, tool, shown, shown.text or "")
        if verdict == "cancelled":
            return Answer("The turn was cancelled.", "denied", "cancelled")
        if verdict == "rejected":
            text = "The plan was rejected. The person will say what should be different."
            return Answer(text, "denied", "end_turn")
        self._session.mode = verdict
        await self._client.mode(verdict)
        return Answer("The plan is approved. Carry it out now.")
