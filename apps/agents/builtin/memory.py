"""Room in the model's context: forgetting old tool results, and summaries in place of history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.builtin.tools import TOOLS

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

COMPACT = "compact"
SUMMARY_ORDER = """\
Summarise this conversation so that somebody else could go on with the work without having read it:
the task, what was decided and why, what was done (files, commands), what was found out, the state
of the work now, and what is left to do. Be exact about names and paths. Write only the summary."""
# Above this share of the context old results are dropped; the rest is room for what comes.
FULL = 0.75
_KEPT_MESSAGES = 16
_KEPT_IN_NEED = 4
_SHORT = 400
_DROPPED = "[This result was dropped to save room. Run the tool again if you need it.]"


def forget_results(messages: list[ModelMessage], *, in_need: bool = False) -> bool:
    """Drop long tool results but the latest, for good; whether there was anything to drop.

    `in_need`: the model has already refused the conversation as too long, so keep very few. The
    calls and their order stay, so the provider accepts the history, and it is dropped in one go,
    because each change makes the provider's cache useless.
    """
    from pydantic_ai.messages import ModelRequest, ToolReturnPart

    kept = _KEPT_IN_NEED if in_need else _KEPT_MESSAGES
    dropped = False
    for message in messages[:-kept]:
        if not isinstance(message, ModelRequest):
            continue
        for part in message.parts:
            if (
                isinstance(part, ToolReturnPart)
                and isinstance(part.content, str)
                and len(part.content) > _SHORT
                and part.tool_name in TOOLS
            ):
                part.content = _DROPPED
                dropped = True
    return dropped


def summarised(summary: str) -> list[ModelMessage]:
    """A history that consists of a summary."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

    text = f"Summary of the conversation so far, which was too long to keep:\n\n{summary}"
    return [
        ModelRequest(parts=[UserPromptPart(content=text)]),
        ModelResponse(parts=[TextPart("Understood. I go on from there.")]),
    ]
