#!/usr/bin/env python3
"""A scriptable mock LLM provider for testing real coding-agent CLIs offline.

One process speaks the wire formats of four model APIs:

  * Anthropic Messages      POST /v1/messages (JSON and SSE), /v1/messages/count_tokens
  * OpenAI Responses        POST /v1/responses (JSON and SSE)
  * OpenAI Chat Completions POST /v1/chat/completions (JSON and SSE)
  * Gemini                  POST /v1beta/models/<m>:generateContent, :streamGenerateContent

What the "model" says is decided by a scenario file (scenario.json beside it is one).  Which step
of the scenario applies is computed from the conversation that the client sends,
not from server state, so any number of sessions may run side by side and a
session that is resumed after a restart continues where it was.

Only the standard library is used.  Never expose this server: it binds to
127.0.0.1 unless told otherwise and does no authentication worth the name.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import itertools
import json
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

JSON = dict[str, Any]

DEFAULT_MODELS = [
    "claude-sonnet-4-5",
    "claude-opus-4-5",
    "claude-haiku-4-5",
    "gpt-5-codex",
    "gpt-5",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "mock-model",
]

DEFAULT_SCENARIO: JSON = {
    "name": "built-in default",
    "scripts": [{"steps": [{"say": [{"text": "Hello from the mock provider."}]}]}],
}

# Places where agents tell the model their working directory.  The first match
# fills the {cwd} placeholder of a scenario.
CWD_PATTERNS = [
    r"<cwd>\s*(.+?)\s*</cwd>",
    r"[Ww]orking directory(?: is)?:\s*`?(/[^\s`<]+)",
    r"current working directory is:?\s*`?(/[^\s`<]+)",
    r"(?:cwd|CWD):\s*`?(/[^\s`<]+)",
    r"Current directory:\s*`?(/[^\s`<]+)",
    r"working in the directory:?\s*`?(/[^\s`<]+)",
    r"workspace director(?:y|ies)[^\n]*\n?\s*-?\s*`?(/[^\s`<]+)",
]

# Agents with a plan mode name a plan file in a prompt; it fills {plan_file}.
PLAN_FILE_PATTERN = r"(/[\w./@+-]*plans/[\w.-]+\.md)"

# Text that agents add to the user's prompt and that no script should match.
INJECTED_TEXT = re.compile(
    r"<(system-reminder|environment_context|user_instructions)>.*?</\1>", re.DOTALL
)


class ScenarioError(ValueError):
    """The scenario file is not usable; the message says where and why."""


@dataclass(frozen=True)
class Pace:
    """How a reply is cut into stream chunks."""

    first_delay_ms: int = 0
    chunk_delay_ms: int = 0
    chunk_chars: int = 24

    def merged(self, raw: JSON) -> Pace:
        return Pace(
            *(
                int(raw.get(k, getattr(self, k)))
                for k in ("first_delay_ms", "chunk_delay_ms", "chunk_chars")
            )
        )


@dataclass(frozen=True)
class Step:
    """One model response: either some content (`say`) or an API `error`."""

    say: list[JSON]
    error: JSON | None
    times: int
    pace: Pace
    usage: JSON
    disconnect_after: int | None


@dataclass(frozen=True)
class Script:
    """The steps that follow one user prompt."""

    index: int
    prompt: re.Pattern[str] | None
    model: re.Pattern[str] | None
    steps: list[Step]


@dataclass(frozen=True)
class Scenario:
    name: str
    scripts: list[Script]
    side_reply: str | None
    valid_keys: list[str]

    @classmethod
    def load(cls, path: Path) -> Scenario:
        try:
            return cls.parse(json.loads(path.read_text("utf-8")))
        except json.JSONDecodeError as exc:
            raise ScenarioError(f"{path}: not JSON: {exc}") from exc

    @classmethod
    def parse(cls, raw: JSON) -> Scenario:
        pace = Pace().merged(raw.get("pace", {}))
        scripts = []
        for i, item in enumerate(raw.get("scripts", [])):
            steps = [
                cls._step(s, pace, f"scripts[{i}].steps[{j}]")
                for j, s in enumerate(item.get("steps", []))
            ]
            if not steps:
                raise ScenarioError(f"scripts[{i}]: 'steps' is empty")
            prompt = _regex(item.get("prompt"), f"scripts[{i}].prompt")
            model = _regex(item.get("model"), f"scripts[{i}].model")
            scripts.append(Script(i, prompt, model, steps))
        if not scripts:
            raise ScenarioError("'scripts' is empty")
        return cls(
            name=str(raw.get("name", "unnamed")),
            scripts=scripts,
            side_reply=raw.get("side_reply", "Mock title"),
            valid_keys=[str(k) for k in raw.get("valid_keys", [])],
        )

    @staticmethod
    def _step(raw: JSON, pace: Pace, where: str) -> Step:
        unknown = set(raw) - {"say", "error", "times", "pace", "usage", "disconnect_after"}
        if unknown:
            raise ScenarioError(f"{where}: unknown keys {sorted(unknown)}")
        if ("say" in raw) == ("error" in raw):
            raise ScenarioError(f"{where}: give exactly one of 'say' and 'error'")
        for part in raw.get("say", []):
            if len({"text", "thinking", "do", "tool"} & set(part)) != 1:
                raise ScenarioError(
                    f"{where}: each part needs exactly one of text, thinking, do, tool: {part}"
                )
            if "do" in part and part["do"] not in ACTIONS:
                raise ScenarioError(
                    f"{where}: unknown action {part['do']!r}; known: {sorted(ACTIONS)}"
                )
        return Step(
            say=list(raw.get("say", [])),
            error=raw.get("error"),
            times=int(raw.get("times", 0)),
            pace=pace.merged(raw.get("pace", {})),
            usage=dict(raw.get("usage", {})),
            disconnect_after=raw.get("disconnect_after"),
        )


def _regex(text: str | None, where: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.DOTALL) if text else None
    except re.error as exc:
        raise ScenarioError(f"{where}: bad regular expression: {exc}") from exc


@dataclass(frozen=True)
class Tool:
    name: str
    schema: JSON = field(default_factory=dict)
    freeform: bool = False  # OpenAI "custom" tools take plain text, not JSON
    namespace: str = ""
    inside: str = (
        ""  # Codex "code mode": a function that JavaScript given to the tool `inside` may call
    )


@dataclass
class Call:
    """A normalised request.  `turns` holds (role, text), role in user/assistant/tool."""

    api: str
    model: str
    stream: bool
    system: str
    turns: list[tuple[str, str]]
    tools: list[Tool]
    json_schema: JSON | None = None  # set when the client wants structured output

    @property
    def session(self) -> str:
        """Identifies the conversation for counting repeated errors."""
        first = next((text for role, text in self.turns if role == "user"), "")
        return hashlib.sha256(f"{self.api}\0{first}".encode()).hexdigest()[:12]

    @property
    def cwd(self) -> str:
        haystack = (
            self.system + "\n" + "\n".join(text for role, text in self.turns if role == "user")
        )
        for pattern in CWD_PATTERNS:
            if found := re.search(pattern, haystack):
                return found.group(1).rstrip(".")
        return "."

    @property
    def plan_file(self) -> str:
        for text in [self.system] + [text for _, text in reversed(self.turns)]:
            if found := re.search(PLAN_FILE_PATTERN, text):
                return found.group(1)
        return f"{self.cwd}/plan.md"

    @property
    def size(self) -> int:
        """A rough token count."""
        return max(1, (len(self.system) + sum(len(t) for _, t in self.turns)) // 4)


def _text(content: Any) -> str:
    """All text in a content value of any of the APIs."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, (_text(c) for c in content)))
    if isinstance(content, dict):
        for key in ("text", "content", "output", "parts"):
            if key in content:
                return _text(content[key])
    return ""


def read_anthropic(body: JSON) -> Call:
    turns: list[tuple[str, str]] = []
    system = [_text(body.get("system"))]
    for message in body.get("messages", []):
        content = message.get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if message.get("role") == "system":
            system.append(_text(blocks))
            continue
        if message.get("role") == "assistant":
            turns.append(("assistant", _text(blocks)))
            continue
        results = [b for b in blocks if b.get("type") == "tool_result"]
        if results:
            turns.append(("tool", _text(results)))
        prose = _text([b for b in blocks if b.get("type") == "text"])
        if prose:
            # Text beside a tool result is usually a reminder by the agent; it
            # still counts as user text, so that a script may match it.
            turns.append(("user", prose))
    tools = [
        Tool(t["name"], t.get("input_schema", {})) for t in body.get("tools", []) if "name" in t
    ]
    output_format = (
        (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    )
    schema = output_format.get("schema")
    return Call(
        "anthropic",
        body.get("model", ""),
        bool(body.get("stream")),
        "\n".join(system),
        turns,
        tools,
        schema,
    )


def read_responses(body: JSON) -> Call:
    turns: list[tuple[str, str]] = []
    system = [_text(body.get("instructions"))]
    items = body.get("input", [])
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    offered = list(body.get("tools") or [])
    for item in items:
        kind = item.get("type", "message")
        if kind == "additional_tools":
            offered += item.get("tools", [])
        elif kind == "message" and item.get("role") == "user":
            turns.append(("user", _text(item.get("content"))))
        elif kind == "message" and item.get("role") in ("system", "developer"):
            system.append(_text(item.get("content")))
        elif kind.endswith("_output"):
            turns.append(("tool", _text(item.get("output"))))
        elif not turns or turns[-1][0] != "assistant":
            turns.append(("assistant", _text(item.get("content"))))
    tools = list(_responses_tools(offered))
    schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    return Call(
        "responses",
        body.get("model", ""),
        bool(body.get("stream")),
        "\n".join(system),
        turns,
        tools,
        schema,
    )


def read_chat(body: JSON) -> Call:
    turns: list[tuple[str, str]] = []
    system: list[str] = []
    for message in body.get("messages", []):
        role, text = message.get("role"), _text(message.get("content"))
        if role in ("system", "developer"):
            system.append(text)
        else:
            turns.append((role, text))
    tools = [_openai_tool(t.get("function", t)) for t in body.get("tools", [])]
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    return Call(
        "chat",
        body.get("model", ""),
        bool(body.get("stream")),
        "\n".join(system),
        turns,
        tools,
        schema,
    )


def read_gemini(body: JSON, model: str, stream: bool) -> Call:
    turns: list[tuple[str, str]] = []
    for content in body.get("contents", []):
        parts = content.get("parts", [])
        if content.get("role") == "model":
            turns.append(("assistant", _text(parts)))
        elif any("functionResponse" in p for p in parts):
            turns.append(("tool", json.dumps(parts)))
        else:
            turns.append(("user", _text(parts)))
    tools = [
        Tool(f["name"], f.get("parametersJsonSchema") or f.get("parameters") or {})
        for group in body.get("tools", [])
        for f in group.get("functionDeclarations", [])
    ]
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    return Call("gemini", model, stream, _text(body.get("systemInstruction")), turns, tools, schema)


def _responses_tools(raw_tools: list[JSON], namespace: str = "") -> Iterator[Tool]:
    for raw in raw_tools:
        if raw.get("type") == "namespace":
            yield from _responses_tools(raw.get("tools", []), raw.get("name", ""))
            continue
        tool = _openai_tool(raw, namespace)
        yield tool
        if tool.name == "exec" and tool.freeform:
            for name in re.findall(r"^### `(\w+)`", raw.get("description", ""), re.MULTILINE):
                yield Tool(name, {}, name == "apply_patch", namespace, inside=tool.name)


def _openai_tool(raw: JSON, namespace: str = "") -> Tool:
    return Tool(
        raw.get("name") or raw.get("type", ""),
        raw.get("parameters") or {},
        raw.get("type") == "custom",
        namespace,
    )


BASH_TOOLS = (
    "Bash",
    "exec_command",
    "shell_command",
    "shell",
    "run_shell_command",
    "bash",
    "run_command",
    "local_shell",
)
PATH_NAMES = ("file_path", "filePath", "absolute_path", "path", "filename", "file")
TEXT_NAMES = ("content", "contents", "text", "file_text")
COMMAND_NAMES = ("command", "cmd", "script")


class NoSuchTool(LookupError):
    """The client offers nothing that can perform the action."""


def _pick(call: Call, *names: str) -> Tool | None:
    by_name = {t.name: t for t in call.tools}
    return next((by_name[n] for n in names if n in by_name), None)


def _arguments(tool: Tool, wanted: list[tuple[tuple[str, ...], Any]]) -> JSON:
    """Puts each value under the first parameter name that the tool's schema has."""
    properties: JSON = tool.schema.get("properties", {})
    arguments: JSON = {}
    for names, value in wanted:
        name = next((n for n in names if n in properties), names[0])
        takes_list = properties.get(name, {}).get("type") in ("array", "ARRAY")
        arguments[name] = ["bash", "-lc", value] if takes_list and isinstance(value, str) else value
    for name in tool.schema.get("required", []):
        if name not in arguments:
            arguments[name] = _placeholder(properties.get(name, {}))
    return arguments


def _placeholder(schema: JSON) -> Any:
    """The simplest value that fits a JSON schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _placeholder(schema[key][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        properties: JSON = schema.get("properties") or {}
        return {
            name: _placeholder(properties.get(name, {}))
            for name in schema.get("required") or properties
        }
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    return {"boolean": False, "array": [], "null": None}.get(kind, "mock")


def _do_write(call: Call, part: JSON) -> tuple[Tool, Any]:
    path, content = part["path"], part.get("content", "")
    if tool := _pick(call, "Write", "write_file", "write", "create_file"):
        return tool, _arguments(tool, [(PATH_NAMES, path), (TEXT_NAMES, content)])
    if tool := _pick(call, "apply_patch"):
        added = "".join(f"+{line}\n" for line in content.splitlines())
        patch = f"*** Begin Patch\n*** Add File: {path}\n{added}*** End Patch\n"
        return tool, patch if tool.freeform else _arguments(
            tool, [(("input", "patch", "patchText"), patch)]
        )
    return _do_bash(call, {"command": f"cat > '{path}' <<'MOCK_EOF'\n{content}\nMOCK_EOF"})


def _do_read(call: Call, part: JSON) -> tuple[Tool, Any]:
    if tool := _pick(call, "Read", "read_file", "read"):
        return tool, _arguments(tool, [(PATH_NAMES, part["path"])])
    return _do_bash(call, {"command": f"cat '{part['path']}'"})


def _do_edit(call: Call, part: JSON) -> tuple[Tool, Any]:
    if tool := _pick(call, "Edit", "replace", "edit", "edit_file"):
        if "edits" in tool.schema.get("properties", {}):
            return tool, _arguments(
                tool,
                [
                    (PATH_NAMES, part["path"]),
                    (("edits",), [{"oldText": part["old"], "newText": part["new"]}]),
                ],
            )
        return tool, _arguments(
            tool,
            [
                (PATH_NAMES, part["path"]),
                (("old_string", "oldString", "oldText", "old_str", "old_text"), part["old"]),
                (("new_string", "newString", "newText", "new_str", "new_text"), part["new"]),
            ],
        )
    if tool := _pick(call, "apply_patch"):
        change = f"@@\n-{part['old']}\n+{part['new']}\n"
        patch = f"*** Begin Patch\n*** Update File: {part['path']}\n{change}*** End Patch\n"
        return tool, patch if tool.freeform else _arguments(
            tool, [(("input", "patch", "patchText"), patch)]
        )
    raise NoSuchTool("edit")


def _do_bash(call: Call, part: JSON) -> tuple[Tool, Any]:
    if tool := _pick(call, *BASH_TOOLS):
        names = ("cmd",) if tool.name == "exec_command" else COMMAND_NAMES
        return tool, _arguments(tool, [(names, part["command"])])
    raise NoSuchTool("bash")


def _do_todo(call: Call, part: JSON) -> tuple[Tool, Any]:
    """items: [{"text": ..., "status": "pending" | "in_progress" | "completed"}]"""
    items = part["items"]
    if tool := _pick(call, "update_plan"):
        return tool, {"plan": [{"step": i["text"], "status": i["status"]} for i in items]}
    if tool := _pick(call, "TodoWrite", "todowrite"):
        return tool, {
            "todos": [
                {
                    "id": str(n),
                    "content": i["text"],
                    "activeForm": i["text"],
                    "status": i["status"],
                    "priority": "medium",
                }
                for n, i in enumerate(items, 1)
            ]
        }
    if tool := _pick(call, "write_todos"):
        return tool, {"todos": [{"description": i["text"], "status": i["status"]} for i in items]}
    if tool := _pick(call, "TaskCreate"):
        return tool, _arguments(
            tool, [(("subject",), items[0]["text"]), (("description",), items[0]["text"])]
        )
    raise NoSuchTool("todo")


def _do_exit_plan(call: Call, part: JSON) -> tuple[Tool, Any]:
    """Hands the plan over: as text, or as the name of the plan file written before."""
    tool = _pick(call, "ExitPlanMode", "exit_plan_mode", "plan_exit")
    if tool is None:
        raise NoSuchTool("exit_plan")
    properties = tool.schema.get("properties", {})
    values = {
        "plan": part.get("plan", ""),
        "plan_path": call.plan_file,
        "plan_filename": call.plan_file.rsplit("/", 1)[-1],
    }
    return tool, _arguments(
        tool, [((name,), value) for name, value in values.items() if name in properties]
    )


def _do_ask(call: Call, part: JSON) -> tuple[Tool, Any]:
    question = {
        "question": part["question"],
        "header": "Mock",
        "multiSelect": False,
        "options": [{"label": o, "description": o} for o in part["options"]],
    }
    if tool := _pick(call, "AskUserQuestion", "question", "ask_user"):
        return tool, {"questions": [question]}
    raise NoSuchTool("ask")


ACTIONS: dict[str, Callable[[Call, JSON], tuple[Tool, Any]]] = {
    "write_file": _do_write,
    "read_file": _do_read,
    "edit_file": _do_edit,
    "bash": _do_bash,
    "todo": _do_todo,
    "exit_plan": _do_exit_plan,
    "ask": _do_ask,
}


@dataclass(frozen=True)
class Part:
    kind: str  # thinking | text | tool
    text: str = ""  # thinking and text
    tool: str = ""
    arguments: Any = None
    freeform: bool = False
    namespace: str = ""
    call_id: str = ""

    @classmethod
    def calling(cls, tool: Tool, arguments: Any) -> Part:
        name, freeform = tool.name, tool.freeform
        if tool.inside:
            arguments = f"text(await tools.{name}({json.dumps(arguments)}));"
            name, freeform = tool.inside, True
        return cls("tool", "", name, arguments, freeform, tool.namespace, new_id("call"))


@dataclass(frozen=True)
class Reply:
    parts: list[Part]
    input_tokens: int
    output_tokens: int
    pace: Pace
    disconnect_after: int | None = None

    @property
    def has_tools(self) -> bool:
        return any(p.kind == "tool" for p in self.parts)


@dataclass(frozen=True)
class Failure:
    status: int
    kind: str
    message: str
    headers: dict[str, str]


_ids = itertools.count(1)
_run_id = hex(int(time.time() * 1000))[-6:]


def new_id(prefix: str) -> str:
    return f"{prefix}_mock{_run_id}{next(_ids):06d}"


ERROR_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class Director:
    """Decides what to answer to a call."""

    def __init__(self, scenario: Scenario) -> None:
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, int, int], int] = {}
        self.scenario = scenario

    def replace(self, scenario: Scenario) -> None:
        with self._lock:
            self.scenario = scenario
            self._failures.clear()

    def select(self, call: Call) -> tuple[Script, int] | None:
        """The script for the latest prompt that any script matches, and the step index in it.

        Some agents join several prompts into one user message, so within a
        message the script whose match lies last is taken.
        """
        scripts = [
            s for s in self.scenario.scripts if s.model is None or s.model.search(call.model)
        ]
        for position in range(len(call.turns) - 1, -1, -1):
            role, text = call.turns[position]
            if role != "user":
                continue
            text = INJECTED_TEXT.sub("", text)
            places = [
                (found.start(), s) for s in scripts if s.prompt for found in s.prompt.finditer(text)
            ]
            if places:
                return max(places, key=lambda place: place[0])[1], _answers_after(call, position)
        default = next((s for s in scripts if s.prompt is None), None)
        if default is None:
            return None
        return default, _answers_after(call, _last_prompt(call))

    def answer(self, call: Call) -> tuple[Reply | Failure, str]:
        """The reply, and a note for the log that says where it came from."""
        side_reply = self.scenario.side_reply
        if not call.tools and side_reply is not None:
            # Agents ask for titles, summaries and quota checks without
            # offering tools; a fixed answer keeps those out of the script.
            text = json.dumps(_placeholder(call.json_schema)) if call.json_schema else side_reply
            return self._reply(call, [{"text": text}], Pace(), {}, None), "side"
        matched = self.select(call)
        if matched is None:
            return self._reply(
                call, [{"text": "(no script matches this prompt)"}], Pace(), {}, None
            ), "no match"
        script, index = matched
        while True:
            if index >= len(script.steps):
                return self._reply(
                    call, [{"text": "(end of script)"}], Pace(), {}, None
                ), f"script {script.index} end"
            step = script.steps[index]
            note = f"script {script.index} step {index}"
            if step.error is None:
                return self._reply(
                    call, step.say, step.pace, step.usage, step.disconnect_after
                ), note
            if step.times and self._count(call, script, index) > step.times:
                # This error has been served often enough.  It left no trace in
                # the conversation, so the next step takes its place.
                index += 1
                continue
            status = int(step.error.get("status", 500))
            kind = step.error.get("type", ERROR_KINDS.get(status, "api_error"))
            headers = {k: str(v) for k, v in step.error.get("headers", {}).items()}
            return Failure(
                status, kind, step.error.get("message", f"mock {kind}"), headers
            ), f"{note} error {status}"

    def _count(self, call: Call, script: Script, index: int) -> int:
        key = (call.session, script.index, index)
        with self._lock:
            self._failures[key] = self._failures.get(key, 0) + 1
            return self._failures[key]

    @staticmethod
    def _reply(
        call: Call, say: list[JSON], pace: Pace, usage: JSON, disconnect_after: int | None
    ) -> Reply:
        parts = []
        names = {"cwd": call.cwd, "model": call.model, "plan_file": call.plan_file}
        for raw in _fill(say, names):
            if "thinking" in raw:
                parts.append(Part("thinking", raw["thinking"]))
            elif "text" in raw:
                parts.append(Part("text", raw["text"]))
            elif "tool" in raw:
                tool = _pick(call, raw["tool"]) or Tool(raw["tool"])
                parts.append(Part.calling(tool, raw.get("input", {})))
            else:
                try:
                    parts.append(Part.calling(*ACTIONS[raw["do"]](call, raw)))
                except NoSuchTool as exc:
                    offered = ", ".join(t.name for t in call.tools) or "none"
                    message = f"(mock: no tool for action {exc}; offered: {offered})"
                    parts.append(Part("text", raw.get("fallback_text", message)))
        written = sum(len(p.text) + len(json.dumps(p.arguments)) for p in parts)
        return Reply(
            parts,
            int(usage.get("input_tokens", call.size)),
            int(usage.get("output_tokens", max(1, written // 4))),
            pace,
            disconnect_after,
        )


def _answers_after(call: Call, position: int) -> int:
    return sum(1 for role, _ in call.turns[position + 1 :] if role == "assistant")


def _last_prompt(call: Call) -> int:
    """Position of the last user turn that is not right behind a tool result."""
    for position in range(len(call.turns) - 1, -1, -1):
        if call.turns[position][0] == "user" and (
            position == 0 or call.turns[position - 1][0] != "tool"
        ):
            return position
    return 0


def _fill(value: Any, names: dict[str, str]) -> Any:
    """Replaces {name} for each of the names in all strings of a JSON value."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, list):
        return [_fill(v, names) for v in value]
    if isinstance(value, dict):
        return {k: _fill(v, names) for k, v in value.items()}
    return value


def _chunks(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), max(1, size))] or [""]


Event = tuple[str | None, Any, bool]


def encode_anthropic(call: Call, reply: Reply) -> Iterator[Event]:
    def event(kind: str, paced: bool = False, **data: Any) -> Event:
        return kind, {"type": kind, **data}, paced

    usage = {
        "input_tokens": reply.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }
    message: JSON = {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    yield event("message_start", message=message)
    for index, part in enumerate(reply.parts):
        if part.kind == "thinking":
            yield event(
                "content_block_start",
                index=index,
                content_block={"type": "thinking", "thinking": "", "signature": ""},
            )
            for piece in _chunks(part.text, reply.pace.chunk_chars):
                yield event(
                    "content_block_delta",
                    True,
                    index=index,
                    delta={"type": "thinking_delta", "thinking": piece},
                )
            yield event(
                "content_block_delta",
                index=index,
                delta={"type": "signature_delta", "signature": "bW9jaw=="},
            )
        elif part.kind == "text":
            yield event(
                "content_block_start", index=index, content_block={"type": "text", "text": ""}
            )
            for piece in _chunks(part.text, reply.pace.chunk_chars):
                yield event(
                    "content_block_delta",
                    True,
                    index=index,
                    delta={"type": "text_delta", "text": piece},
                )
        else:
            block = {
                "type": "tool_use",
                "id": part.call_id.replace("call_", "toolu_"),
                "name": part.tool,
                "input": {},
            }
            yield event("content_block_start", index=index, content_block=block)
            for piece in _chunks(json.dumps(part.arguments), reply.pace.chunk_chars * 4):
                yield event(
                    "content_block_delta",
                    True,
                    index=index,
                    delta={"type": "input_json_delta", "partial_json": piece},
                )
        yield event("content_block_stop", index=index)
    stop = "tool_use" if reply.has_tools else "end_turn"
    yield event(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None},
        usage=usage | {"output_tokens": reply.output_tokens},
    )
    yield event("message_stop")


def whole_anthropic(call: Call, reply: Reply) -> JSON:
    content: list[JSON] = []
    for part in reply.parts:
        if part.kind == "thinking":
            content.append({"type": "thinking", "thinking": part.text, "signature": "bW9jaw=="})
        elif part.kind == "text":
            content.append({"type": "text", "text": part.text})
        else:
            content.append(
                {
                    "type": "tool_use",
                    "id": part.call_id.replace("call_", "toolu_"),
                    "name": part.tool,
                    "input": part.arguments,
                }
            )
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": content,
        "stop_reason": "tool_use" if reply.has_tools else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    }


def _response_items(reply: Reply) -> list[JSON]:
    items: list[JSON] = []
    for part in reply.parts:
        if part.kind == "thinking":
            items.append(
                {
                    "type": "reasoning",
                    "id": new_id("rs"),
                    "summary": [{"type": "summary_text", "text": part.text}],
                    "encrypted_content": "bW9jaw==",
                }
            )
        elif part.kind == "text":
            content = [{"type": "output_text", "text": part.text, "annotations": []}]
            items.append(
                {
                    "type": "message",
                    "id": new_id("msg"),
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            )
        elif part.freeform:
            items.append(
                {
                    "type": "custom_tool_call",
                    "id": new_id("ctc"),
                    "call_id": part.call_id,
                    "name": part.tool,
                    "input": part.arguments,
                    "status": "completed",
                    **({"namespace": part.namespace} if part.namespace else {}),
                }
            )
        else:
            items.append(
                {
                    "type": "function_call",
                    "id": new_id("fc"),
                    "call_id": part.call_id,
                    "name": part.tool,
                    "arguments": json.dumps(part.arguments),
                    "status": "completed",
                    **({"namespace": part.namespace} if part.namespace else {}),
                }
            )
    return items


def _response_object(call: Call, reply: Reply, status: str, items: list[JSON], ident: str) -> JSON:
    usage = {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    return {
        "id": ident,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "model": call.model,
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if status == "completed" else None,
    }


def encode_responses(call: Call, reply: Reply) -> Iterator[Event]:
    sequence = itertools.count()
    ident = new_id("resp")

    def event(kind: str, paced: bool = False, **data: Any) -> Event:
        return kind, {"type": kind, "sequence_number": next(sequence), **data}, paced

    yield event(
        "response.created", response=_response_object(call, reply, "in_progress", [], ident)
    )
    items = _response_items(reply)
    for index, (part, item) in enumerate(zip(reply.parts, items, strict=True)):
        here = {"output_index": index, "item_id": item["id"]}
        if part.kind == "thinking":
            yield event(
                "response.output_item.added", output_index=index, item=item | {"summary": []}
            )
            yield event(
                "response.reasoning_summary_part.added",
                **here,
                summary_index=0,
                part={"type": "summary_text", "text": ""},
            )
            for piece in _chunks(part.text, reply.pace.chunk_chars):
                yield event(
                    "response.reasoning_summary_text.delta",
                    True,
                    **here,
                    summary_index=0,
                    delta=piece,
                )
            yield event(
                "response.reasoning_summary_text.done", **here, summary_index=0, text=part.text
            )
            yield event(
                "response.reasoning_summary_part.done",
                **here,
                summary_index=0,
                part=item["summary"][0],
            )
        elif part.kind == "text":
            yield event(
                "response.output_item.added",
                output_index=index,
                item=item | {"content": [], "status": "in_progress"},
            )
            empty = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.content_part.added", **here, content_index=0, part=empty)
            for piece in _chunks(part.text, reply.pace.chunk_chars):
                yield event(
                    "response.output_text.delta",
                    True,
                    **here,
                    content_index=0,
                    delta=piece,
                    logprobs=[],
                )
            yield event(
                "response.output_text.done", **here, content_index=0, text=part.text, logprobs=[]
            )
            yield event(
                "response.content_part.done", **here, content_index=0, part=item["content"][0]
            )
        else:
            name, kind = (
                ("input", "custom_tool_call_input")
                if part.freeform
                else ("arguments", "function_call_arguments")
            )
            yield event(
                "response.output_item.added",
                output_index=index,
                item=item | {name: "", "status": "in_progress"},
            )
            for piece in _chunks(item[name], reply.pace.chunk_chars * 4):
                yield event(f"response.{kind}.delta", True, **here, delta=piece)
            yield event(f"response.{kind}.done", **here, **{name: item[name]})
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(
        "response.completed", response=_response_object(call, reply, "completed", items, ident)
    )


def whole_responses(call: Call, reply: Reply) -> JSON:
    return _response_object(call, reply, "completed", _response_items(reply), new_id("resp"))


def encode_chat(call: Call, reply: Reply) -> Iterator[Event]:
    base = {
        "id": new_id("chatcmpl"),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": call.model,
    }

    def event(delta: JSON, finish: str | None = None, paced: bool = False) -> Event:
        return (
            None,
            {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]},
            paced,
        )

    yield event({"role": "assistant", "content": ""})
    tool_index = 0
    for part in reply.parts:
        if part.kind == "tool":
            head = {"index": tool_index, "id": part.call_id, "type": "function"}
            yield event({"tool_calls": [head | {"function": {"name": part.tool, "arguments": ""}}]})
            for piece in _chunks(json.dumps(part.arguments), reply.pace.chunk_chars * 4):
                yield event(
                    {"tool_calls": [{"index": tool_index, "function": {"arguments": piece}}]},
                    paced=True,
                )
            tool_index += 1
        else:
            key = "content" if part.kind == "text" else "reasoning_content"
            for piece in _chunks(part.text, reply.pace.chunk_chars):
                yield event({key: piece}, paced=True)
    yield event({}, "tool_calls" if reply.has_tools else "stop")
    yield None, {**base, "choices": [], "usage": _chat_usage(reply)}, False
    yield None, "[DONE]", False


def whole_chat(call: Call, reply: Reply) -> JSON:
    message: JSON = {
        "role": "assistant",
        "content": "".join(p.text for p in reply.parts if p.kind == "text") or None,
    }
    calls = [
        {
            "id": p.call_id,
            "type": "function",
            "function": {"name": p.tool, "arguments": json.dumps(p.arguments)},
        }
        for p in reply.parts
        if p.kind == "tool"
    ]
    if calls:
        message["tool_calls"] = calls
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": call.model,
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        ],
        "usage": _chat_usage(reply),
    }


def _chat_usage(reply: Reply) -> JSON:
    total = reply.input_tokens + reply.output_tokens
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": total,
    }


def _gemini(call: Call, reply: Reply, parts: list[JSON], finish: str | None) -> JSON:
    candidate: JSON = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finish:
        candidate["finishReason"] = finish
    total = reply.input_tokens + reply.output_tokens
    usage = {
        "promptTokenCount": reply.input_tokens,
        "candidatesTokenCount": reply.output_tokens,
        "totalTokenCount": total,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": call.model,
        "responseId": new_id("resp"),
    }


def encode_gemini(call: Call, reply: Reply) -> Iterator[Event]:
    for part in reply.parts:
        if part.kind == "tool":
            yield (
                None,
                _gemini(
                    call,
                    reply,
                    [{"functionCall": {"name": part.tool, "args": part.arguments}}],
                    None,
                ),
                True,
            )
            continue
        for piece in _chunks(part.text, reply.pace.chunk_chars):
            body = {"text": piece, "thought": True} if part.kind == "thinking" else {"text": piece}
            yield None, _gemini(call, reply, [body], None), True
    yield None, _gemini(call, reply, [{"text": ""}], "STOP"), False


def whole_gemini(call: Call, reply: Reply) -> JSON:
    parts: list[JSON] = []
    for part in reply.parts:
        if part.kind == "tool":
            parts.append({"functionCall": {"name": part.tool, "args": part.arguments}})
        else:
            parts.append(
                {"text": part.text} | ({"thought": True} if part.kind == "thinking" else {})
            )
    return _gemini(call, reply, parts, "STOP")


CODECS: dict[
    str, tuple[Callable[[Call, Reply], Iterator[Event]], Callable[[Call, Reply], JSON]]
] = {
    "anthropic": (encode_anthropic, whole_anthropic),
    "responses": (encode_responses, whole_responses),
    "chat": (encode_chat, whole_chat),
    "gemini": (encode_gemini, whole_gemini),
}


def error_body(api: str, failure: Failure) -> JSON:
    if api == "anthropic":
        return {
            "type": "error",
            "error": {"type": failure.kind, "message": failure.message},
            "request_id": new_id("req"),
        }
    if api == "gemini":
        status = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            429: "RESOURCE_EXHAUSTED",
        }
        return {
            "error": {
                "code": failure.status,
                "message": failure.message,
                "status": status.get(failure.status, "UNAVAILABLE"),
            }
        }
    return {
        "error": {
            "message": failure.message,
            "type": failure.kind,
            "code": failure.kind,
            "param": None,
        }
    }


class RequestLog:
    """Keeps what was asked, in memory and as JSON lines."""

    def __init__(self, path: Path | None, bodies: bool) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8") if path else None
        self.bodies = bodies
        self.entries: list[JSON] = []

    def add(self, entry: JSON) -> None:
        with self._lock:
            self.entries.append(entry)
            if self._file:
                self._file.write(json.dumps(entry) + "\n")
                self._file.flush()

    def clear(self) -> None:
        with self._lock:
            self.entries.clear()


class MockServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], director: Director, log: RequestLog) -> None:
        super().__init__(address, Handler)
        self.director = director
        self.log = log
        self.started = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    server: MockServer
    protocol_version = "HTTP/1.1"
    server_version = "MockProvider/1"

    def log_message(self, format: str, *args: Any) -> None:  # quiet: RequestLog has it all
        pass

    # -- routes ------------------------------------------------------------

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/__mock__/requests":
            self._send(200, {"requests": self.server.log.entries})
        elif path.endswith("/models") or path.rstrip("/").endswith("/v1/models"):
            self._answer_about("models", path, self._models())
        elif path.endswith("/key"):
            self._answer_about("key", path, {"data": {"label": "mock"}})
        elif path in ("/", "/healthz"):
            self._send(200, {"ok": True, "scenario": self.server.director.scenario.name})
        else:
            self._note("unknown", 404)
            self._send(
                404, {"error": {"type": "not_found_error", "message": f"mock: no GET {path}"}}
            )

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        try:
            body = self._body()
        except ValueError as exc:
            self._send(400, {"error": {"type": "invalid_request_error", "message": f"mock: {exc}"}})
            return
        try:
            self._post(path, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:  # noqa: BLE001 - a bug here must show up in the test, not hang it
            traceback.print_exc()
            self.close_connection = True
            self._send(
                500, {"error": {"type": "api_error", "message": traceback.format_exc(limit=3)}}
            )

    def _post(self, path: str, body: JSON) -> None:
        if path == "/__mock__/scenario":
            try:
                self.server.director.replace(Scenario.parse(body))
            except ScenarioError as exc:
                self._send(400, {"error": str(exc)})
                return
            self._send(200, {"ok": True})
        elif path == "/__mock__/reset":
            self.server.log.clear()
            self.server.director.replace(self.server.director.scenario)
            self._send(200, {"ok": True})
        elif path.endswith("/messages/count_tokens"):
            call = read_anthropic(body)
            self._note("count_tokens", 200)
            self._send(200, {"input_tokens": call.size})
        elif path.endswith(":countTokens"):
            self._send(200, {"totalTokens": read_gemini(body, "", False).size})
        elif path.endswith("/messages"):
            self._serve(read_anthropic(body), body)
        elif path.endswith("/chat/completions"):
            self._serve(read_chat(body), body)
        elif path.endswith("/responses"):
            self._serve(read_responses(body), body)
        elif found := re.search(r"/models/([^/:]+):(generateContent|streamGenerateContent)$", path):
            self._serve(
                read_gemini(body, found.group(1), found.group(2) == "streamGenerateContent"), body
            )
        else:
            self._note("unknown", 404, body=body)
            self._send(
                404, {"error": {"type": "not_found_error", "message": f"mock: no POST {path}"}}
            )

    # -- answers -----------------------------------------------------------

    def _serve(self, call: Call, body: JSON) -> None:
        answer, note = self._authenticate() or self.server.director.answer(call)
        entry = self._note(
            call.api, answer.status if isinstance(answer, Failure) else 200, call, note, body
        )
        if isinstance(answer, Failure):
            self._send(answer.status, error_body(call.api, answer), answer.headers)
            return
        encode, whole = CODECS[call.api]
        time.sleep(answer.pace.first_delay_ms / 1000)
        if not call.stream:
            self._send(200, whole(call, answer))
            return
        try:
            self._stream(encode(call, answer), answer)
        except (BrokenPipeError, ConnectionResetError):
            self.server.log.add(
                {"at": self._now(), "of": entry["id"], "event": "client_disconnected"}
            )
            self.close_connection = True

    def _stream(self, events: Iterator[Event], reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-cache")
        self.send_header("request-id", new_id("req"))
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, (name, data, paced) in enumerate(events, 1):
            if paced and reply.pace.chunk_delay_ms:
                time.sleep(reply.pace.chunk_delay_ms / 1000)
            text = data if isinstance(data, str) else json.dumps(data)
            frame = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
            raw = frame.encode()
            self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
            self.wfile.flush()
            if reply.disconnect_after is not None and number >= reply.disconnect_after:
                self.close_connection = True
                self.connection.close()
                return
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _answer_about(self, what: str, path: str, content: JSON) -> None:
        """To whoever has a valid key."""
        refused = self._authenticate()
        if refused is None:
            self._note(what, 200)
            self._send(200, content)
        else:
            self._note(what, refused[0].status)
            api = "gemini" if "v1beta" in path else "anthropic"
            self._send(refused[0].status, error_body(api, refused[0]))

    def _authenticate(self) -> tuple[Failure, str] | None:
        valid = self.server.director.scenario.valid_keys
        if not valid or self._key() in valid:
            return None
        return Failure(401, "authentication_error", "invalid x-api-key", {}), "bad key"

    def _key(self) -> str:
        query = parse_qs(urlsplit(self.path).query)
        bearer = self.headers.get("authorization", "")
        return (
            self.headers.get("x-api-key")
            or self.headers.get("x-goog-api-key")
            or bearer.removeprefix("Bearer ").strip()
            or query.get("key", [""])[0]
        )

    def _models(self) -> JSON:
        data = [
            {
                "id": m,
                "type": "model",
                "object": "model",
                "display_name": m,
                "created": 0,
                "created_at": "2025-01-01T00:00:00Z",
            }
            for m in DEFAULT_MODELS
        ]
        return {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"],
            "last_id": data[-1]["id"],
        }

    # -- plumbing ----------------------------------------------------------

    def _body(self) -> JSON:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        try:
            body = json.loads(raw or b"{}")
        except (json.JSONDecodeError, UnicodeDecodeError) as exc:
            raise ValueError(f"the body is not JSON: {exc}") from exc
        return body if isinstance(body, dict) else {"body": body}

    def _send(self, status: int, payload: JSON, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _note(
        self,
        api: str,
        status: int,
        call: Call | None = None,
        note: str = "",
        body: JSON | None = None,
    ) -> JSON:
        entry: JSON = {
            "id": next(_ids),
            "at": self._now(),
            "method": self.command,
            "path": urlsplit(self.path).path,
            "api": api,
            "status": status,
            "key": self._key()[:12],
            "agent": self.headers.get("user-agent", "")[:80],
        }
        if call:
            entry |= {
                "model": call.model,
                "stream": call.stream,
                "choice": note,
                "turns": [[role, text[-200:]] for role, text in call.turns[-4:]],
                "n_turns": len(call.turns),
                "tools": [t.name for t in call.tools],
                "cwd": call.cwd,
            }
        if self.server.log.bodies and body is not None:
            entry["body"] = body
        self.server.log.add(entry)
        return entry

    def _now(self) -> float:
        return round(time.monotonic() - self.server.started, 3)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Scriptable mock LLM provider (see README.md).")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8765, help="port; 0 picks a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--scenario",
        type=Path,
        help="scenario file (JSON); without it every prompt gets a greeting",
    )
    parser.add_argument("--log", type=Path, help="append one JSON line per request to this file")
    parser.add_argument(
        "--log-bodies", action="store_true", help="include request bodies in the log"
    )
    parser.add_argument("--check", action="store_true", help="only check the scenario file")
    options = parser.parse_args(argv)
    try:
        scenario = (
            Scenario.load(options.scenario)
            if options.scenario
            else Scenario.parse(DEFAULT_SCENARIO)
        )
    except (ScenarioError, OSError) as exc:
        print(f"mock_provider: {exc}", file=sys.stderr)
        return 2
    if options.check:
        print(f"ok: {scenario.name}: {len(scenario.scripts)} scripts")
        return 0
    server = MockServer(
        (options.host, options.port),
        Director(scenario),
        RequestLog(options.log, options.log_bodies),
    )
    # The first line on stdout tells a test harness where to connect.
    print(
        json.dumps(
            {"url": f"http://{options.host}:{server.server_port}", "scenario": scenario.name}
        ),
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
