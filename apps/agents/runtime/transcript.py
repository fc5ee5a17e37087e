"""Turns an agent's updates into lines of a transcript.

Text is a line from its first chunk on, stored again each second and at its end, so that a kill loses at
most the last second; what happens in between goes to watchers as deltas (≤ 30 a second), which are never
stored and never needed to be right. A tool call is one line that is updated by its id; agents send parts of
it in any order, some only an update without a start.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from apps.agents.runtime.activity import Activity
from apps.common.envelope import dumps
from apps.common.ids import public_id
from apps.events import telling
from apps.runs.masking import Secrets
from apps.runs.sink import Feed, Line
from apps.runs.storing import storable

STORE_EVERY_S = 1.0
DELTA_EVERY_S = 1 / 30
LONGEST_MESSAGE = 1_000_000
DEEPEST = 100
# Agents send late parts of a call soon or never; all calls of a long turn would fill the memory.
ENDED_CALLS_KEPT = 50
_ENDED = {"completed", "failed", "cancelled"}


def cleaned(value: Any, depth: int = 0) -> Any:
    """The same as JSON that can be stored: storable texts, integers of 64 bits, no more than 100 levels."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | dict) and depth >= DEEPEST:
        return "…"
    if isinstance(value, list):
        return [cleaned(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {storable(str(key)): cleaned(each, depth + 1) for key, each in value.items()}
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value


def _as_json(value: dict[str, Any]) -> str:
    """What `cleaned` makes of it, as text; cleaned only where it may be needed."""
    try:
        text = dumps(value).decode()
    except TypeError:
        return dumps(cleaned(value)).decode()
    # It can't be deeper than it has brackets.
    if "\\u0000" in text or text.count("{") + text.count("[") > DEEPEST:
        return dumps(cleaned(value)).decode()
    return text


class Text:
    """A text on its way. `content` is what may be shown already; `tail` may be the beginning of a secret."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.content = ""
        self.tail = ""
        self.told = 0
        self.stored_at = time.monotonic()
        self.full = False


class Transcript:
    def __init__(
        self,
        feed: Feed,
        secrets: Secrets,
        loop: asyncio.AbstractEventLoop,
        activity: Activity | None = None,
    ) -> None:
        self.feed = feed
        self.activity = activity
        self.secrets = secrets
        self.loop = loop
        self.loading = False
        self.turn_id: int | None = None
        self.text: Text | None = None
        # By the agent's own ids; those still open, and those that ended last.
        self.tools: dict[str, tuple[Line, dict[str, Any]]] = {}
        self.ended_tools: dict[str, tuple[Line, dict[str, Any]]] = {}
        # Of the open ones, those that a person has still to allow.
        self.awaited: set[str] = set()
        self.plan: Line | None = None
        self.commands: list[dict[str, Any]] = []
        self.cost_usd: float | None = None
        # What went wrong in a turn that the agent will end as if nothing had.
        self.turn_error: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "agent_message_chunk": lambda update: self._chunk("text", update),
            "agent_thought_chunk": lambda update: self._chunk("reasoning", update),
            "tool_call": self._tool,
            "tool_call_update": self._tool,
            "plan": self._plan,
            "usage_update": self._usage,
            "available_commands_update": self._commands,
            "session_info_update": self._info,
        }

    def begin_turn(self, turn_id: int) -> None:
        self.turn_id = turn_id
        self.plan = None
        self.turn_error = None

    def update(self, update: dict[str, Any]) -> None:
        """Take one `session/update`. Replayed history (while a session is loaded) is not ours to store."""
        if self.loading:
            return
        handler = self._handlers.get(str(update.get("sessionUpdate")))
        if handler is not None:
            handler(update)

    @property
    def open_tool_since(self) -> float | None:
        """When the oldest tool call that is still open began, on the monotonic clock."""
        return min((call["_since"] for _line, call in self.tools.values()), default=None)

    def restart_clocks(self) -> None:
        """What waited for a person has not been at work meanwhile."""
        for _line, call in self.tools.values():
            call["_since"] = time.monotonic()

    def end_turn(self, *, cut: bool = False, goes_on: bool = False) -> None:
        """Close what is open: a text's last state is stored, a tool call without an end is marked.

        `cut`: the turn didn't end by itself, so a text that is open stays a part of what it was to be.
        `goes_on`: another process takes it up, so a call that waits for a person still waits.
        """
        self._close_text(cut=cut)
        for call_id, (line, call) in self.tools.items():
            if not (goes_on and call_id in self.awaited):
                call["status"] = "cancelled"
                self._store_tool(line, call)
        for line, _ in [*self.tools.values(), *self.ended_tools.values()]:
            self.feed.forget(line.ordinal)
        self.tools.clear()
        self.ended_tools.clear()
        self.awaited.clear()

    def say(self, role: str, kind: str, content: str) -> None:
        """A line of the server's own."""
        self._close_text()
        line = self._line(role, kind)
        line.content = storable(content)
        self.feed.put(line)
        self.feed.forget(line.ordinal)

    def _line(self, role: str, kind: str) -> Line:
        return Line(self.feed.new_ordinal(), role, kind, turn_id=self.turn_id)

    def _chunk(self, kind: str, update: dict[str, Any]) -> None:
        content = update.get("content")
        piece = content.get("text") if isinstance(content, dict) else None
        if not isinstance(piece, str) or not piece:
            return
        text = self.text
        if text is None or text.line.type != kind:
            self._close_text()
            text = self.text = Text(self._line("assistant", kind))
            text.line.partial = True
            if self.activity is not None:
                self.activity.now("writing" if kind == "text" else "thinking")
        self._append(text, storable(piece))
        if text.line.content == "" and text.content:
            self._store_text(text)
        if self._timer is None:
            self._timer = self.loop.call_later(DELTA_EVERY_S, self._tell_deltas)

    def _append(self, text: Text, piece: str) -> None:
        if text.full:
            return
        whole = self.secrets.mask(text.tail + piece)
        held = self.secrets.held_back(whole)
        text.content += whole[: len(whole) - held]
        text.tail = whole[len(whole) - held :]
        if len(text.content) > LONGEST_MESSAGE:
            text.content, text.tail, text.full = text.content[:LONGEST_MESSAGE], "", True

    def _tell_deltas(self) -> None:
        self._timer = None
        text = self.text
        if text is None:
            return
        index = self.feed.index_of(text.line.ordinal)
        if index is not None and text.told < len(text.content):
            delta = {
                "sessionId": public_id("session", self.feed.run_id),
                "index": index,
                "offset": text.told,
                "type": text.line.type,
                "text": text.content[text.told :],
            }
            text.told = len(text.content)
            frame = f'{{"type":"agent.delta","data":{dumps(delta).decode()}}}'
            telling.tell_session(self.feed.run_id, "d", frame)
        if time.monotonic() - text.stored_at >= STORE_EVERY_S:
            self._store_text(text)
        elif text.told < len(text.content) or text.line.content != text.content:
            self._timer = self.loop.call_later(DELTA_EVERY_S, self._tell_deltas)

    def _store_text(self, text: Text) -> None:
        text.line = replace(text.line, content=text.content, truncated=text.full)
        text.stored_at = time.monotonic()
        text.told = max(text.told, len(text.content)) if text.line.partial else text.told
        self.feed.put(text.line)

    def _close_text(self, *, cut: bool = False) -> None:
        text, self.text = self.text, None
        if text is None:
            return
        text.content += self.secrets.mask_end(text.tail)
        text.line = replace(text.line, partial=cut)
        self._store_text(text)
        self.feed.forget(text.line.ordinal)

    def _tool(self, update: dict[str, Any]) -> None:
        self._close_text()
        call_id = str(update.get("toolCallId") or "")
        if not call_id:
            return
        if call_id in self.tools:
            line, call = self.tools[call_id]
        elif call_id in self.ended_tools:
            line, call = self.ended_tools[call_id]
        else:
            line, call = self._line("tool", "tool_call"), {"id": call_id}
        merge_call(call, update)
        if self.activity is not None:
            self.activity.now("tool", self.secrets.mask(storable(call["title"]))[:200])
        if call["status"] in _ENDED:
            self._tool_ended(call_id, line, call)
        else:
            call.setdefault("_since", time.monotonic())
            self.ended_tools.pop(call_id, None)
            self.tools[call_id] = line, call
        self._store_tool(line, call)

    def _tool_ended(self, call_id: str, line: Line, call: dict[str, Any]) -> None:
        call.pop("_since", None)
        self.tools.pop(call_id, None)
        self.ended_tools[call_id] = line, call
        if len(self.ended_tools) > ENDED_CALLS_KEPT:
            oldest, _ = self.ended_tools.pop(next(iter(self.ended_tools)))
            self.feed.forget(oldest.ordinal)

    def _store_tool(self, line: Line, call: dict[str, Any]) -> None:
        shown = {key: value for key, value in call.items() if key != "_since"}
        text = self.secrets.mask(_as_json(shown))
        truncated = len(text) > LONGEST_MESSAGE
        if truncated:
            text = dumps(shortened(orjson.loads(text))).decode()
        title = self.secrets.mask(storable(call["title"]))
        self.feed.put(replace(line, content=title, tool_call=text, truncated=truncated))

    def _plan(self, update: dict[str, Any]) -> None:
        self._close_text()
        entries = update.get("entries")
        if not isinstance(entries, list):
            return
        if self.plan is None:
            self.plan = self._line("assistant", "plan")
        marks = {"completed": "x", "in_progress": "~"}
        rows = [
            f"- [{marks.get(str(entry.get('status')), ' ')}] {entry.get('content', '')}"
            for entry in entries
            if isinstance(entry, dict)
        ]
        self.plan = replace(self.plan, content=self.secrets.mask(storable("\n".join(rows))))
        self.feed.put(self.plan)

    def _usage(self, update: dict[str, Any]) -> None:
        cost = update.get("cost")
        if isinstance(cost, dict) and isinstance(cost.get("amount"), int | float):
            amount = float(cost["amount"])
            if math.isfinite(amount) and amount >= 0:
                self.cost_usd = amount

    def _info(self, update: dict[str, Any]) -> None:
        """Codex ends a turn that failed with `end_turn` and tells of the failure only here."""
        meta = update.get("_meta")
        codex = meta.get("codex") if isinstance(meta, dict) else None
        if not isinstance(codex, dict):
            return
        status, error = codex.get("threadStatus"), codex.get("error")
        if isinstance(status, dict) and status.get("type") == "systemError":
            said = error.get("message") if isinstance(error, dict) else None
            self.turn_error = self.secrets.mask(storable(str(said or "the provider failed")))

    def _commands(self, update: dict[str, Any]) -> None:
        commands = update.get("availableCommands")
        if isinstance(commands, list):
            self.commands = commands


def merge_call(call: dict[str, Any], update: dict[str, Any]) -> None:
    """Lay the parts that an update carries over what is known of the call."""
    for key, its_type in (("title", str), ("kind", str), ("status", str), ("locations", list)):
        if isinstance(update.get(key), its_type):
            call[key] = update[key]
    if update.get("rawInput") is not None:
        call["input"] = update["rawInput"]
    if update.get("rawOutput") is not None:
        call["output"] = update["rawOutput"]
    content = update.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        diffs = [part for part in parts if part.get("type") == "diff"]
        if diffs:
            call["diffs"] = [
                {"path": d.get("path"), "oldText": d.get("oldText"), "newText": d.get("newText")}
                for d in diffs
            ]
        texts = [
            str(part["content"].get("text", ""))
            for part in parts
            if part.get("type") == "content" and isinstance(part.get("content"), dict)
        ]
        if texts and update.get("rawOutput") is None:
            call["output"] = "\n".join(texts)
    for key, default in (
        ("title", ""),
        ("kind", "other"),
        ("status", "pending"),
        ("input", None),
        ("output", None),
        ("diffs", []),
        ("locations", []),
    ):
        call.setdefault(key, default)


def shortened(value: Any, limit: int = 20_000) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if isinstance(value, list):
        return [shortened(each, limit) for each in value[:100]]
    if isinstance(value, dict):
        return {key: shortened(each, limit) for key, each in list(value.items())[:100]}
    return value
