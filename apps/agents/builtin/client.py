"""What the agent tells and asks the client: updates, permissions and questions."""

from __future__ import annotations

from typing import Any, Literal

import acp
from acp import schema

from apps.agents.builtin.tools import AskUser, Description, Tool
from apps.agents.builtin.tools import Question as AskedQuestion

Verdict = Literal["once", "always", "rejected", "cancelled"]
APPROVE_UNATTENDED = "exit-plan-unattended"
APPROVE_ASK = "exit-plan-ask"
REJECT = "reject"
_OPTIONS = [
    schema.PermissionOption(option_id="allow", name="Allow", kind="allow_once"),
    schema.PermissionOption(
        option_id="allow-always", name="Allow for the rest of the session", kind="allow_always"
    ),
    schema.PermissionOption(option_id=REJECT, name="Reject", kind="reject_once"),
]
_PLAN_OPTIONS = [
    schema.PermissionOption(
        option_id=APPROVE_UNATTENDED, name="Approve, work without asking", kind="allow_once"
    ),
    schema.PermissionOption(
        option_id=APPROVE_ASK, name="Approve, ask before each change", kind="allow_once"
    ),
    schema.PermissionOption(option_id=REJECT, name="Reject the plan", kind="reject_once"),
]


def text_content(text: str) -> schema.ContentToolCallContent:
    return acp.tool_content(acp.text_block(text))


def _content(shown: Description) -> list[Any] | None:
    if shown.diff:
        path, old, new = shown.diff
        return [acp.tool_diff_content(path, new, old)]
    return [text_content(shown.text)] if shown.text else None


class SessionClient:
    """The client's side of one session."""

    def __init__(
        self,
        connection: Any,
        session_id: str,
        capabilities: schema.ClientCapabilities | None,
    ) -> None:
        self._connection = connection
        self._session_id = session_id
        self._capabilities = capabilities

    async def update(self, update: Any) -> None:
        await self._connection.session_update(session_id=self._session_id, update=update)

    async def text(self, chunk: str) -> None:
        if chunk:
            await self.update(acp.update_agent_message_text(chunk))

    async def thought(self, chunk: str) -> None:
        if chunk:
            await self.update(acp.update_agent_thought_text(chunk))

    async def commands(self, commands: dict[str, str]) -> None:
        """The slash commands on offer, with a sentence each."""
        await self.update(
            schema.AvailableCommandsUpdate(
                session_update="available_commands_update",
                available_commands=[
                    schema.AvailableCommand(name=name, description=sentence)
                    for name, sentence in commands.items()
                ],
            )
        )

    async def mode(self, mode: str) -> None:
        await self.update(
            schema.CurrentModeUpdate(session_update="current_mode_update", current_mode_id=mode)
        )

    async def usage(self, used: int, size: int, cost: float | None) -> None:
        """`used` and `size`: tokens of the context; `cost`: US dollars of the session so far."""
        money = None if cost is None else schema.Cost(amount=round(cost, 6), currency="USD")
        await self.update(
            schema.UsageUpdate(session_update="usage_update", used=used, size=size, cost=money)
        )

    async def todo(self, items: list[dict[str, str]]) -> None:
        entries = [
            schema.PlanEntry(
                content=item["description"],
                priority="medium",
                status=item["status"],  # type: ignore[arg-type]
            )
            for item in items
        ]
        await self.update(acp.update_plan(entries))

    async def tool_started(
        self,
        call_id: str,
        tool: Tool | None,
        shown: Description,
        arguments: Any,
        *,
        status: Literal["pending", "in_progress"] = "in_progress",
    ) -> None:
        await self.update(
            acp.start_tool_call(
                call_id,
                shown.title,
                kind=tool.kind if tool else "other",
                status=status,
                content=_content(shown),
                locations=[schema.ToolCallLocation(path=path) for path in shown.locations] or None,
                raw_input=arguments,
            )
        )

    async def tool_running(self, call_id: str) -> None:
        await self.update(acp.update_tool_call(call_id, status="in_progress"))

    async def tool_ended(self, call_id: str, text: str, *, ok: bool, keep_content: bool) -> None:
        """`keep_content`: the call already shows something better than its answer, like a diff."""
        await self.update(
            acp.update_tool_call(
                call_id,
                status="completed" if ok else "failed",
                content=None if keep_content and ok else [text_content(text)],
                raw_output=text,
            )
        )

    async def _permission(
        self,
        call_id: str,
        tool: Tool,
        shown: Description,
        arguments: Any,
        options: list[schema.PermissionOption],
    ) -> str | None:
        """The id of the chosen option; None when the client cancelled the request."""
        answer = await self._connection.request_permission(
            session_id=self._session_id,
            tool_call=schema.ToolCallUpdate(
                tool_call_id=call_id,
                title=shown.title,
                kind=tool.kind,
                status="pending",
                content=_content(shown),
                raw_input=arguments,
            ),
            options=options,
        )
        if isinstance(answer.outcome, schema.AllowedOutcome):
            return answer.outcome.option_id
        return None

    async def may_run(
        self, call_id: str, tool: Tool, shown: Description, arguments: Any
    ) -> Verdict:
        """Ask the person; waits as long as they take. An unknown option counts as a rejection."""
        chosen = await self._permission(call_id, tool, shown, arguments, _OPTIONS)
        verdicts: dict[str | None, Verdict] = {
            "allow": "once",
            "allow-always": "always",
            None: "cancelled",
        }
        return verdicts.get(chosen, "rejected")

    async def approve_plan(
        self, call_id: str, tool: Tool, shown: Description, plan: str
    ) -> Literal["unattended", "ask", "rejected", "cancelled"]:
        """Ask for approval; an approval says in which mode to go on."""
        chosen = await self._permission(call_id, tool, shown, {"plan": plan}, _PLAN_OPTIONS)
        match chosen:
            case None:
                return "cancelled"
            case "exit-plan-unattended":
                return "unattended"
            case "exit-plan-ask":
                return "ask"
        return "rejected"

    @property
    def answers_questions(self) -> bool:
        elicitation = self._capabilities.elicitation if self._capabilities else None
        return elicitation is not None and elicitation.form is not None

    async def ask(self, call_id: str, asked: AskUser) -> dict[str, str] | None:
        """The answers by question; None when the person declined or dismissed the form."""
        properties: dict[str, Any] = {}
        for number, question in enumerate(asked.questions):
            properties.update(_fields(number, question))
        single = asked.questions[0].question if len(asked.questions) == 1 else None
        answer = await self._connection.create_elicitation(
            message=single or "The agent has some questions.",
            mode=schema.ElicitationFormSessionMode(
                session_id=self._session_id,
                tool_call_id=call_id,
                requested_schema=schema.ElicitationSchema.model_validate(
                    {"type": "object", "properties": properties}
                ),
            ),
        )
        if not isinstance(answer, schema.AcceptElicitationResponse):
            return None
        given = answer.content or {}
        return {
            question.question: _answer(given, number)
            for number, question in enumerate(asked.questions)
        }


def _fields(number: int, question: AskedQuestion) -> dict[str, Any]:
    """The form fields of a question: a choice if it has options, and always free text."""
    key, title = f"question_{number}", question.header or question.question
    if not question.options:
        return {key: {"type": "string", "title": title, "description": question.question}}
    options = [
        {"const": option.label, "title": option.label, "description": option.description}
        for option in question.options
    ]
    choice: dict[str, Any]
    if question.multiSelect:
        choice = {"type": "array", "items": {"anyOf": options}}
    else:
        choice = {"type": "string", "oneOf": options}
    return {
        key: {**choice, "title": title, "description": question.question},
        f"{key}_custom": {
            "type": "string",
            "title": "Other",
            "description": "An answer of your own, or a note on the option you chose.",
        },
    }


def _answer(given: dict[str, Any], number: int) -> str:
    chosen = given.get(f"question_{number}")
    words = ", ".join(map(str, chosen)) if isinstance(chosen, list) else str(chosen or "")
    custom = str(given.get(f"question_{number}_custom") or "")
    return ". ".join(part for part in (words, custom) if part) or "(no answer)"
