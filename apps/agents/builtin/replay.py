"""A stored conversation as the updates that a client showed when it happened."""

from __future__ import annotations

from typing import Any

import acp

from apps.agents.builtin.calls import parse_arguments
from apps.agents.builtin.client import SessionClient
from apps.agents.builtin.store import Session
from apps.agents.builtin.tools import TOOLS, Description


async def replay(session: Session, client: SessionClient) -> None:
    """Send the whole history: prompts, answers, thoughts, tool calls with their results, the todo."""
    if session.messages:
        from pydantic_ai.messages import ModelRequest

        for message in session.messages:
            for part in message.parts:
                if isinstance(message, ModelRequest):
                    await _request_part(part, client)
                else:
                    await _response_part(part, client)
    if session.todo:
        await client.todo(session.todo)


async def _request_part(part: Any, client: SessionClient) -> None:
    from pydantic_ai.messages import ToolReturnPart, UserPromptPart

    if isinstance(part, ToolReturnPart):
        await client.tool_ended(
            part.tool_call_id,
            str(part.content),
            ok=part.outcome == "success",
            keep_content=part.tool_name in ("write_file", "edit_file"),
        )
    elif isinstance(part, UserPromptPart):
        items = [part.content] if isinstance(part.content, str) else part.content
        for item in items:
            text = item if isinstance(item, str) else "[attachment]"
            await client.update(acp.update_user_message_text(text))


async def _response_part(part: Any, client: SessionClient) -> None:
    from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart

    if isinstance(part, TextPart):
        await client.text(part.content)
    elif isinstance(part, ThinkingPart):
        await client.thought(part.content)
    elif isinstance(part, ToolCallPart):
        arguments = parse_arguments(part.args)
        await client.tool_started(
            part.tool_call_id,
            TOOLS.get(part.tool_name),
            _described(part.tool_name, arguments),
            arguments,
        )


def _described(name: str, arguments: Any) -> Description:
    """From the arguments alone: the files may have changed since."""
    if not isinstance(arguments, dict):
        return Description(name)
    path = str(arguments.get("path", ""))
    match name:
        case "write_file":
            return Description(
                f"Write {path}", diff=(path, None, str(arguments.get("content", "")))
            )
        case "edit_file":
            old, new = arguments.get("old_string", ""), arguments.get("new_string", "")
            return Description(f"Edit {path}", diff=(path, str(old), str(new)))
        case "run_command":
            return Description(" ".join(str(arguments.get("command", "")).split())[:100])
        case "exit_plan_mode":
            return Description("Approve the plan", text=str(arguments.get("plan", "")))
    return Description(f"{name} {path}".strip())
