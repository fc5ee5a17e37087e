"""One prompt: the model and the tools take turns until the model has nothing left to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from acp.schema import Usage

from apps.agents.builtin.calls import Answer, ToolRunner
from apps.agents.builtin.client import SessionClient
from apps.agents.builtin.mcp import McpServers
from apps.agents.builtin.memory import COMPACT, FULL, SUMMARY_ORDER, forget_results, summarised
from apps.agents.builtin.prompts import instructions
from apps.agents.builtin.provider import Conversation, ProviderError, Request, context_size
from apps.agents.builtin.store import Session, SessionStore
from apps.agents.builtin.tools import description, offered, schema
from apps.agents.builtin.workbench import Workbench

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelRequestPart, ModelResponse, ToolCallPart
    from pydantic_ai.models import Model
    from pydantic_ai.tools import ToolDefinition

StopReason = Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"]
_MOST_REQUESTS = 200
_CANCELLED = "The person cancelled this."


@dataclass
class Spent:
    """Tokens of one prompt, over all its requests."""

    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0

    def usage(self) -> Usage:
        return Usage(
            total_tokens=self.input + self.output,
            input_tokens=self.input,
            output_tokens=self.output,
            cached_read_tokens=self.cached_read,
            cached_write_tokens=self.cached_write,
        )


def most_requests() -> int:
    """Requests to the model that one prompt may take; BUILTIN_MAX_REQUESTS overrides 200."""
    try:
        return max(1, int(os.environ.get("BUILTIN_MAX_REQUESTS", _MOST_REQUESTS)))
    except ValueError:
        return _MOST_REQUESTS


def _definitions(session: Session, servers: McpServers) -> list[ToolDefinition]:
    from pydantic_ai.tools import ToolDefinition

    own = [
        ToolDefinition(
            name=tool.name,
            description=description(tool),
            parameters_json_schema=schema(tool),
            strict=False,
        )
        for tool in offered(session.mode)
    ]
    foreign = [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=tool.schema,
            strict=False,
        )
        for tool in servers.offered(session.mode)
    ]
    return own + foreign


class Turn:
    """Works on one prompt of a session and saves the session after each step."""

    def __init__(
        self,
        session: Session,
        store: SessionStore,
        client: SessionClient,
        model: Model,
        servers: McpServers,
    ) -> None:
        self._session = session
        self._store = store
        self._client = client
        self._conversation = Conversation(model)
        self._bench = Workbench(session)
        self._servers = servers
        self._runner = ToolRunner(session, self._bench, client, servers)
        self.spent = Spent()

    async def run(self, prompt: list[Any]) -> StopReason:
        """Raises ProviderError when the model cannot be asked; the prompt stays in the history."""
        if prompt == [f"/{COMPACT}"]:
            return await self._compact()
        for complaint in await self._servers.open():
            await self._client.thought(complaint + "\n")
        self._begin(prompt)
        self._store.save(self._session)
        try:
            for _ in range(most_requests()):
                response = await self._ask()
                calls = self._keep(response)
                if not calls:
                    return _stop_reason(response)
                after = await self._call(calls)
                if after != "go_on":
                    return "cancelled" if after == "cancelled" else "end_turn"
            return "max_turn_requests"
        finally:
            self._store.save(self._session)

    def _begin(self, prompt: list[Any]) -> None:
        from pydantic_ai.messages import ModelRequest, UserPromptPart

        content: Any = prompt[0] if len(prompt) == 1 and isinstance(prompt[0], str) else prompt
        messages = self._session.messages
        if messages and isinstance(last := messages[-1], ModelRequest) and len(last.parts) == 1:
            part = last.parts[0]
            if isinstance(part, UserPromptPart) and part.content == content:
                # The same prompt again after a failure: the model need not read it twice.
                return
        messages.append(ModelRequest(parts=[UserPromptPart(content=content)]))
        if self._session.title is None:
            words = " ".join(item for item in prompt if isinstance(item, str)).split()
            self._session.title = " ".join(words)[:80] or None

    async def _compact(self) -> StopReason:
        """Put a summary in the place of the history. When that fails, the history stays."""
        from pydantic_ai.messages import ModelRequest, UserPromptPart

        if not self._session.messages:
            await self._client.text("There is nothing to summarise yet.")
            return "end_turn"
        order = ModelRequest(parts=[UserPromptPart(content=SUMMARY_ORDER)])
        request = Request([*self._session.messages, order], self._instructions(), [])
        response = await self._ask_once(request)
        if response.text and response.text.strip():
            self._session.messages = summarised(response.text)
            self._store.save(self._session)
        return _stop_reason(response)

    def _instructions(self) -> str:
        return instructions(self._bench.jail, self._session.mode, self._session.id)

    async def _ask(self) -> ModelResponse:
        messages = self._session.messages
        try:
            return await self._ask_once(self._request())
        except ProviderError as problem:
            if problem.failure.kind != "context_window" or not forget_results(
                messages, in_need=True
            ):
                raise
            return await self._ask_once(self._request())

    def _request(self) -> Request:
        session = self._session
        return Request(session.messages, self._instructions(), _definitions(session, self._servers))

    async def _ask_once(self, request: Request) -> ModelResponse:
        try:
            return await self._conversation.ask(request, self._client)
        except asyncio.CancelledError:
            self._keep_partial()
            raise
        finally:
            if (partial := self._conversation.partial) is not None:
                await self._account(partial)

    def _keep_partial(self) -> None:
        """What the model had said when it was cancelled, without calls that never ran."""
        from pydantic_ai.messages import ModelResponse, TextPart

        partial = self._conversation.partial
        texts = [part for part in partial.parts if isinstance(part, TextPart)] if partial else []
        if partial and any(part.content.strip() for part in texts):
            kept = [TextPart(part.content) for part in texts if part.content.strip()]
            self._session.messages.append(ModelResponse(parts=kept, model_name=partial.model_name))

    async def _account(self, response: ModelResponse) -> None:
        used = response.usage
        self.spent.input += used.input_tokens
        self.spent.output += used.output_tokens
        self.spent.cached_read += used.cache_read_tokens
        self.spent.cached_write += used.cache_write_tokens
        if not used.input_tokens:
            return
        with contextlib.suppress(LookupError, ValueError, AssertionError):
            self._session.cost += float(response.cost().total_price)
        context = used.input_tokens + used.output_tokens
        size = context_size(self._conversation.model)
        if context > FULL * size:
            forget_results(self._session.messages)
        await self._client.usage(context, size, self._session.cost or None)

    def _keep(self, response: ModelResponse) -> list[ToolCallPart]:
        """Add the answer to the history; answers with the calls to run."""
        from pydantic_ai.messages import ToolCallPart

        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        if calls and response.finish_reason == "length":
            # The last call was cut within its arguments; what came before it stands.
            response.parts = [part for part in response.parts if part is not calls[-1]]
            calls.pop()
        if response.parts:
            self._session.messages.append(response)
            self._store.save(self._session)
        return calls

    async def _call(self, calls: list[ToolCallPart]) -> Literal["go_on", "end_turn", "cancelled"]:
        from pydantic_ai.messages import ModelRequest, ToolReturnPart

        parts: list[ModelRequestPart] = []
        after: Literal["go_on", "end_turn", "cancelled"] = "go_on"
        self._session.messages.append(request := ModelRequest(parts=parts))

        def settle(call: ToolCallPart, answer: Answer) -> None:
            parts.append(
                ToolReturnPart(
                    tool_name=call.tool_name,
                    content=answer.text,
                    tool_call_id=call.tool_call_id,
                    outcome=answer.outcome,
                )
            )
            request.parts = parts

        try:
            for call in calls:
                if after == "go_on":
                    answer = await self._runner.run(call.tool_call_id, call.tool_name, call.args)
                    after = answer.after
                else:
                    answer = Answer("Not run, because the turn ended before it.", "interrupted")
                settle(call, answer)
                self._store.save(self._session)
        except BaseException:
            for call in calls[len(parts) :]:
                settle(call, Answer(_CANCELLED, "interrupted"))
            raise
        return after


def _stop_reason(response: ModelResponse) -> StopReason:
    match response.finish_reason:
        case "length":
            return "max_tokens"
        case "content_filter":
            return "refusal"
    return "end_turn"


__all__ = ["ProviderError", "Spent", "Turn"]
