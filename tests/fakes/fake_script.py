# pathlib alone would double the time that this program needs to start.
# ruff: noqa: PTH100, PTH103, PTH110, PTH118, PTH120, PTH123
"""What the scripted agent does in a turn: one function per directive. `fake_agent.py` documents them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fake_agent import Session
    from fake_wire import Wire

DIRECTIVE = re.compile(r"\[([a-z][a-z0-9-]*)(?:\s+([^\]]*))?\]")
SIZES = {"kB": 1_000, "MB": 1_000_000, "": 1}


class TurnOver(Exception):
    """The turn ends here, with this stop reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class TurnError(Exception):
    """The turn ends with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        self.code, self.message, self.data = code, message, data


def directives(text: str) -> list[tuple[str, str]]:
    return [(name, (rest or "").replace("\\n", "\n")) for name, rest in DIRECTIVE.findall(text)]


def size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(kB|MB|)", text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    return int(match[1]) * SIZES[match[2]]


class Script:
    """One prompt being worked on, in a thread of its own. `cancelled` is set by `session/cancel`."""

    def __init__(self, wire: Wire, session: Session, text: str) -> None:
        self.wire = wire
        self.session = session
        self.steps = directives(text)
        self.cancelled = threading.Event()
        self.usage: dict[str, int] | None = None
        self._tools = 0

    def run(self) -> str:
        """All directives in their order; returns the stop reason. Raises TurnError."""
        resumable = any(name == "resumable" for name, _ in self.steps)
        done = self.session.progress(self.steps) if resumable else 0
        try:
            for position, (name, rest) in enumerate(self.steps):
                if position < done:
                    continue
                if self.cancelled.is_set():
                    return "cancelled"
                step: Callable[[str], None] | None = getattr(
                    self, "do_" + name.replace("-", "_"), None
                )
                if step is not None:
                    step(rest)
                if resumable:
                    self.session.note_progress(self.steps, position + 1)
        except TurnOver as over:
            return over.reason
        if not self.steps:
            self.do_say("Nothing to do.")
        return "cancelled" if self.cancelled.is_set() else "end_turn"

    # Talking

    def _update(self, update: str, /, **fields: Any) -> None:
        self.wire.update(self.session.id, {"sessionUpdate": update, **fields})

    def _chunk(self, kind: str, text: str) -> None:
        self._update(kind, content={"type": "text", "text": text})

    def do_say(self, text: str) -> None:
        self.session.said(text)
        for start in range(0, len(text), 16):
            self._chunk("agent_message_chunk", text[start : start + 16])

    def do_thought(self, text: str) -> None:
        self._chunk("agent_thought_chunk", text)

    def do_todo(self, text: str) -> None:
        entries = [
            {"content": item.strip(), "priority": "medium", "status": "pending"}
            for item in text.split("|")
        ]
        self._update("plan", entries=entries)

    def do_commands(self, text: str) -> None:
        commands = [
            {"name": name.strip(), "description": f"Runs {name.strip()}"}
            for name in text.split(",")
        ]
        self._update("available_commands_update", availableCommands=commands)

    def do_usage(self, text: str) -> None:
        given, made = (int(part) for part in text.split())
        self.usage = {"inputTokens": given, "outputTokens": made, "totalTokens": given + made}
        self._update("usage_update", used=given + made, size=200_000)

    def do_cost(self, text: str) -> None:
        cost = {"amount": float(text), "currency": "USD"}
        self._update("usage_update", used=1, size=200_000, cost=cost)

    def do_mode(self, _rest: str) -> None:
        self.do_say(f"mode {self.session.mode}")

    def do_environment(self, path: str) -> None:
        """Writes the agent's own environment, so that a test sees what the server gave it."""
        with open(path or "environment.json", "w") as file:
            json.dump(dict(os.environ), file)

    def do_stderr(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    # Tools

    def _tool(self, title: str, kind: str, **fields: Any) -> str:
        self._tools += 1
        call = f"call_{os.getpid()}_{time.monotonic_ns()}_{self._tools}"
        self._update(
            "tool_call", toolCallId=call, title=title, kind=kind, status="in_progress", **fields
        )
        return call

    def _tool_done(self, call: str, status: str = "completed", **fields: Any) -> None:
        self._update("tool_call_update", toolCallId=call, status=status, **fields)

    def do_tool(self, rest: str) -> None:
        verb, _, rest = rest.partition(" ")
        {"write": self._write, "append": self._append, "read": self._read, "run": self._run}[verb](
            rest
        )

    def _write(self, rest: str) -> None:
        path, _, text = rest.partition(" ")
        old = None
        if os.path.exists(path):
            with open(path) as file:
                old = file.read()
        call = self._tool(f"Write {path}", "edit", rawInput={"path": path, "content": text})
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(text + "\n")
        diff = {"type": "diff", "path": path, "oldText": old, "newText": text + "\n"}
        self._tool_done(call, content=[diff], locations=[{"path": path}])

    def _append(self, rest: str) -> None:
        path, _, text = rest.partition(" ")
        call = self._tool(f"Append to {path}", "edit", rawInput={"path": path, "text": text})
        with open(path, "a") as file:
            file.write(text + "\n")
        self._tool_done(call)

    def _read(self, path: str) -> None:
        call = self._tool(f"Read {path}", "read", rawInput={"path": path})
        with open(path) as file:
            text = file.read()
        self._tool_done(
            call, content=[{"type": "content", "content": {"type": "text", "text": text}}]
        )

    def _run(self, command: str) -> None:
        """A shell command; cancel kills it, as most agents do."""
        import subprocess  # as the rest, only when needed: its import takes longer than all others

        call = self._tool(command, "execute", rawInput={"command": command})
        shell = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while True:
            try:
                output, _ = shell.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                if self.cancelled.is_set():
                    os.killpg(shell.pid, signal.SIGKILL)
        text = {"type": "text", "text": output.decode(errors="replace")}
        status = "completed" if shell.returncode == 0 else "failed"
        self._tool_done(call, status, content=[{"type": "content", "content": text}])

    def do_grandchild(self, path: str) -> None:
        """A process that leaves the group and the parent, and appends to a file every 50 ms."""
        path = os.path.abspath(path)
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        while True:
            with open(path, "ab") as file:
                file.write(b".")
            time.sleep(0.05)

    # Asking a person

    def do_ask_permission(self, title: str) -> None:
        """Goes on when allowed; a refusal is said and ends the turn."""
        call = self._tool(title, "execute", rawInput={"command": title})
        options = [
            {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
            {"optionId": "no", "name": "Refuse", "kind": "reject_once"},
        ]
        if self._permission(call, title, "execute", {"command": title}, options) != "yes":
            self._tool_done(call, "failed")
            self.do_say("Refused.")
            raise TurnOver("end_turn")
        self._tool_done(call)

    def do_ask_and_go(self, title: str) -> None:
        """Asks, and does not wait for the answer."""
        threading.Thread(target=self.do_ask_permission, args=[title], daemon=True).start()
        time.sleep(0.5)

    def do_plan(self, text: str) -> None:
        options = [
            {"optionId": "start", "name": "Start working", "kind": "allow_once"},
            {"optionId": "keep", "name": "Keep planning", "kind": "reject_once"},
        ]
        call = self._tool("Plan", "switch_mode", rawInput={"plan": text})
        if self._permission(call, "Plan", "switch_mode", {"plan": text}, options) != "start":
            self._tool_done(call, "failed")
            raise TurnOver("end_turn")
        self._tool_done(call)

    def _permission(
        self, call: str, title: str, kind: str, given: dict[str, Any], options: list[dict[str, str]]
    ) -> str:
        tool = {
            "toolCallId": call,
            "title": title,
            "kind": kind,
            "status": "pending",
            "rawInput": given,
        }
        answer = self.wire.ask(
            "session/request_permission",
            {"sessionId": self.session.id, "toolCall": tool, "options": options},
            self.cancelled,
        )
        outcome = (answer or {}).get("outcome") or {}
        if outcome.get("outcome") != "selected":
            raise TurnOver("cancelled")
        return str(outcome.get("optionId"))

    def do_question(self, text: str) -> None:
        question, *choices = text.split("|")
        schema: dict[str, Any] = {"type": "string", "title": question}
        if choices:
            schema["enum"] = choices
        answer = self.wire.ask(
            "elicitation/create",
            {
                "mode": "form",
                "sessionId": self.session.id,
                "message": question,
                "requestedSchema": {"type": "object", "properties": {"answer": schema}},
            },
            self.cancelled,
        )
        if answer is None:
            raise TurnOver("cancelled")
        content = answer.get("content") or {}
        self.do_say(f"answer {content.get('answer', answer.get('action'))}")

    # Time and quantity

    def do_sleep(self, seconds: str) -> None:
        self.cancelled.wait(float(seconds))

    def do_lines(self, rest: str) -> None:
        """`200/s for 3 s`: that many small tool calls, numbered from 0."""
        match = re.fullmatch(r"(\d+)/s for ([\d.]+) s", rest)
        if match is None:
            raise ValueError(f"not a rate: {rest!r}")
        rate, seconds = int(match[1]), float(match[2])
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            if self.cancelled.wait(max(0.0, began + number / rate - time.monotonic())):
                return
            self._whole_tool_call(f"line {number}", "")

    def do_flood(self, rest: str) -> None:
        """That many bytes of valid lines as fast as they are taken: numbered tool calls of 10 kB each."""
        padding = "x" * 9_800
        for number in range(size(rest) // 10_000):
            if self.cancelled.is_set():
                return
            self._whole_tool_call(f"flood {number}", padding)

    def _whole_tool_call(self, title: str, output: str) -> None:
        self._tools += 1
        content = [{"type": "content", "content": {"type": "text", "text": output}}]
        self._update(
            "tool_call",
            toolCallId=f"many_{os.getpid()}_{self._tools}",
            title=title,
            kind="other",
            status="completed",
            content=content if output else [],
        )

    def do_bigline(self, rest: str) -> None:
        self._chunk("agent_message_chunk", "b" * size(rest))

    # Odd agents

    def do_garbage(self, count: str) -> None:
        for number in range(int(count or 3)):
            self.wire.raw(f"this is no message, line {number}\n".encode())

    def do_bad_utf8(self, _rest: str) -> None:
        message = {
            "jsonrpc": "2.0",
            "method": "session/update",
            "params": {
                "sessionId": self.session.id,
                "update": {
                    "sessionUpdate": "agent_message_chunk",
                    "content": {"type": "text", "text": "bad @@ utf8"},
                },
            },
        }
        self.wire.raw(json.dumps(message).encode().replace(b"@@", b"\xff\xfe") + b"\n")

    def do_nul(self, _rest: str) -> None:
        self._chunk("agent_message_chunk", "a\0b")

    def do_surrogate(self, _rest: str) -> None:
        self._chunk("agent_message_chunk", "a\ud800b")

    def do_die(self, code: str) -> None:
        os._exit(int(code or 1))

    def do_die_after(self, seconds: str) -> None:
        threading.Timer(float(seconds), os._exit, [1]).start()

    def do_ignore_cancel(self, _rest: str) -> None:
        """From now on neither `session/cancel` nor SIGTERM nor a closed stdin ends anything."""
        self.session.ignores_cancel = True

    def do_never_answer(self, _rest: str) -> None:
        while not self.cancelled.wait(60):
            pass

    def do_stop(self, reason: str) -> None:
        raise TurnOver(reason)

    def do_error(self, rest: str) -> None:
        code, _, text = rest.partition(" ")
        data = {"errorKind": text} if re.fullmatch(r"[a-z]+(_[a-z]+)+", text) else None
        raise TurnError(int(code), text or "Internal error", data)

    def do_limit_once(self, seconds: str) -> None:
        if "limited" not in self.session.stored["flags"]:
            self.session.set_flag("limited")
            data = {"errorKind": "rate_limit", "retryAfter": float(seconds)}
            raise TurnError(-32603, "Too many requests", data)

    def do_end_turn_after_error(self, _rest: str) -> None:
        """Says by a side channel that the provider failed, then ends the turn as if all were well."""
        self._update(
            "session_info_update", _meta={"codex": {"threadStatus": {"type": "systemError"}}}
        )
        self.do_say("exceeded retry limit, last status: 429 Too Many Requests")
        raise TurnOver("end_turn")

    def do_update_without_start(self, title: str) -> None:
        self._tool_done(f"unseen_{os.getpid()}_{time.monotonic_ns()}", title=title, kind="execute")

    def do_duplicate_titles(self, _rest: str) -> None:
        """Two calls with one title, each told twice; by their ids they are two."""
        for call in [self._tool("Same title", "other") for _ in range(2)]:
            self._tool_done(call, title="Same title")
            self._tool_done(call, title="Same title")

    def do_second_prompt_cancels_first(self, _rest: str) -> None:
        self.session.second_cancels_first = True

    def do_kill_worker_at_next_mode(self, _rest: str) -> None:
        with open(os.path.join(os.environ["HOME"], "kill-worker"), "w"):
            pass

    def do_crash_on_load(self, _rest: str) -> None:
        self.session.set_flag("crash_on_load")

    def do_no_load(self, _rest: str) -> None:
        self.session.set_flag("no_load")

    def do_shell(self, rest: str) -> None:
        """A command outside any tool call, waited for: what a test needs to set a stage."""
        os.system(rest)
