"""Requests to the model: streaming, and trying again after what passes by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from apps.agents.builtin.credentials import Choice
from apps.agents.builtin.failures import Failure, from_exception

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model
    from pydantic_ai.tools import ToolDefinition

_TRIES = 3
_LONGEST_WAIT = 10.0
_FALLBACK_CONTEXT = 200_000


class ProviderError(Exception):
    """The model cannot be asked, or not any more after several tries."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Listener(Protocol):
    """Who gets the model's words while they come."""

    async def text(self, chunk: str) -> None: ...

    async def thought(self, chunk: str) -> None: ...


def build_model(choice: Choice) -> Model:
    """Imports the provider's SDK: one to two seconds, once. Only that one is loaded."""
    if choice.api == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(
            choice.model,
            provider=AnthropicProvider(api_key=choice.key, base_url=choice.base_url),
        )
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(api_key=choice.key, base_url=choice.base_url)
    if choice.api == "openai":
        return OpenAIResponsesModel(choice.model, provider=provider)
    return OpenAIChatModel(choice.model, provider=provider)


def context_size(model: Model) -> int:
    """Tokens that fit the model; a guess for models that no price list knows."""
    return model.context_window or _FALLBACK_CONTEXT


class _Echo:
    """Passes text on, except what an earlier try of the same request had already passed on."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._shown = ""
        self._held = ""
        self._repeating = False

    def again(self) -> None:
        """Another try begins."""
        self._held = ""
        self._repeating = bool(self._shown)

    async def feed(self, chunk: str) -> None:
        if self._repeating:
            self._held += chunk
            if self._shown.startswith(self._held):
                return
            self._repeating = False
            if self._held.startswith(self._shown):
                chunk = self._held[len(self._shown) :]
            else:
                chunk = "\n\n" + self._held
                self._shown = ""
        self._shown += chunk
        if chunk:
            await self._send(chunk)


@dataclass(frozen=True)
class Request:
    """Everything the model is asked with."""

    messages: list[ModelMessage]
    instructions: str
    tools: list[ToolDefinition]


class Conversation:
    """Asks one model. `partial` is what had come of the latest answer, whole or cut off."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.partial: ModelResponse | None = None

    async def ask(self, request: Request, listener: Listener) -> ModelResponse:
        """The model's complete answer, its words given to `listener` as they come.

        Rate limits, server errors and broken connections are tried again, three times in all, after
        the wait the provider asked for if that is at most ten seconds. Raises ProviderError.
        """
        text, thought = _Echo(listener.text), _Echo(listener.thought)
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._once(request, text, thought)
            except Exception as problem:
                failure = from_exception(problem)
                if failure is None:
                    raise
                wait = failure.retry_after
                if wait is None:
                    wait = 0.4 * 2**attempt * random.uniform(0.75, 1.25)
                if attempt == _TRIES or not failure.transient or wait > _LONGEST_WAIT:
                    raise ProviderError(failure) from problem
            text.again()
            thought.again()
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, request: Request, text: _Echo, thought: _Echo) -> ModelResponse:
        from pydantic_ai import messages as m
        from pydantic_ai.direct import model_request_stream
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.settings import ModelSettings

        self.partial = None
        parameters = ModelRequestParameters(
            function_tools=request.tools,
            instruction_parts=[m.InstructionPart(content=request.instructions)],
        )
        settings = ModelSettings(max_retries=0, cache=True)
        async with model_request_stream(
            self.model,
            request.messages,
            model_settings=settings,
            model_request_parameters=parameters,
        ) as stream:
            try:
                async for event in stream:
                    match event:
                        case m.PartStartEvent(part=m.TextPart(content=chunk)):
                            await text.feed(chunk)
                        case m.PartStartEvent(part=m.ThinkingPart(content=chunk)):
                            await thought.feed(chunk)
                        case m.PartDeltaEvent(delta=m.TextPartDelta(content_delta=chunk)):
                            await text.feed(chunk)
                        case m.PartDeltaEvent(delta=m.ThinkingPartDelta(content_delta=chunk)):
                            await thought.feed(chunk or "")
            finally:
                self.partial = stream.get()
        _check_complete(self.partial)
        return self.partial


def _check_complete(response: ModelResponse) -> None:
    """A stream that just ends, without the provider's word that it is done, was cut."""
    ended: Any = response.finish_reason
    if ended is None and (response.provider_name == "anthropic" or not response.parts):
        raise ConnectionError("the answer ended before it was complete")
    if ended == "error":
        raise ConnectionError("the provider broke the answer off with an error")
