#!/usr/bin/env python3
# pathlib alone would double the time that this program needs to start.
# ruff: noqa: PTH103, PTH105, PTH108, PTH109, PTH110, PTH118, PTH123
"""A scripted agent that speaks the Agent Client Protocol over stdio. The PROMPT is the script.

Directives stand in square brackets and run in their order; other text is ignored, so that a card's title
and a column's instruction may surround them. `\\n` in a directive is a line break. A prompt without any says
so and ends.

    [say TEXT] [thought TEXT]      a message, a thought, in chunks of 16 characters
    [todo A|B]                     the agent's to-do list      [commands a,b]   its slash commands
    [usage IN OUT] [cost 0.12]     what the turn used          [mode]           says which mode is set
    [environment FILE]             writes its environment as JSON       [stderr TEXT]
    [tool write|append FILE TEXT] [tool read FILE] [tool run COMMAND]   tool calls in the working directory
    [ask-permission TITLE]         waits for leave; refused: says so and ends the turn
    [ask-and-go TITLE]             asks, and doesn't wait for the answer
    [plan TEXT]                    asks to leave plan mode     [question TEXT|A|B]   says what was answered
    [sleep S] [lines N/s for T s]  waits; N numbered tool calls a second
    [flood 50MB] [bigline 200kB]   numbered tool calls of 10 kB; one chunk of that size
    [grandchild FILE]              a detached process that ignores SIGTERM and appends to FILE every 50 ms
    [ignore-cancel]                ignores session/cancel, SIGTERM and the end of stdin from here on
    [never-answer]                 the turn doesn't end by itself
    [die CODE] [die-after S]       exits, now or later
    [stop REASON]                  ends the turn with that stop reason
    [error CODE TEXT]              ends it with a JSON-RPC error; a word_like_this becomes data.errorKind
    [limit-once S]                 the first time: a rate limit that ends in S seconds
    [end-turn-after-error]         reports a failed provider in _meta, then claims end_turn
    [garbage N] [bad-utf8] [nul] [surrogate]
    [update-without-start TITLE] [duplicate-titles]
    [second-prompt-cancels-first]  a further prompt ends the running one
    [crash-on-load] [no-load]      how a later session/load of this session goes: exit, or error -32002
    [kill-worker-at-next-mode]     the next process that is told a mode kills its parent, once
    [resumable]                    a later prompt with the same directives goes on behind the last one done

Options for what happens before any prompt: --die-at-start, --hang-init, --garbage (instead of answers),
--no-load (doesn't offer to load), --unknown-session (refuses to load), --resume (offers session/resume),
--slow-start S, --auth-required (session/new: -32000).

In $HOME it keeps `sessions/<id>.json` and appends to these, always with pid, time and run (BOARD_RUN):
    starts.jsonl    {cwd}: each start
    prompts.jsonl   {session, text}: each prompt, as it arrives
    overlaps.jsonl  {cwd}: it found another one of its kind alive in the same directory
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time

from fake_script import Script, TurnError
from fake_wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODES = ("default", "plan", "ask", "unattended")


def home(*parts: str) -> str:
    return os.path.join(os.environ.get("HOME", "."), *parts)


def note(name: str, **fields: Any) -> None:
    """One line in one write: several agents share a home."""
    common = {"pid": os.getpid(), "run": os.environ.get("BOARD_RUN"), "time": time.time()}
    line = json.dumps({**common, **fields}) + "\n"
    descriptor = os.open(home(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


class Session:
    """A conversation, kept on disk after every change."""

    def __init__(self, session_id: str, stored: dict[str, Any] | None = None) -> None:
        self.id = session_id
        self.stored = stored or {"history": [], "flags": [], "progress": {}}
        self.mode = "default"
        self.ignores_cancel = False
        self.second_cancels_first = False
        self.running: list[Script] = []
        self.one_at_a_time = threading.Lock()

    @classmethod
    def read(cls, session_id: str) -> Session | None:
        try:
            with open(home("sessions", f"{session_id}.json")) as file:
                return cls(session_id, json.load(file))
        except FileNotFoundError:
            return None

    def save(self) -> None:
        os.makedirs(home("sessions"), exist_ok=True)
        path = home("sessions", f"{self.id}.json")
        with open(f"{path}.new", "w") as file:
            json.dump(self.stored, file)
        os.replace(f"{path}.new", path)

    def heard(self, text: str) -> None:
        self.stored["history"].append({"role": "user", "text": text})
        self.save()

    def said(self, text: str) -> None:
        self.stored["history"].append({"role": "assistant", "text": text})
        self.save()

    def set_flag(self, flag: str) -> None:
        self.stored["flags"].append(flag)
        self.save()

    def progress(self, steps: list[tuple[str, str]]) -> int:
        return int(self.stored["progress"].get(json.dumps(steps), 0))

    def note_progress(self, steps: list[tuple[str, str]], done: int) -> None:
        self.stored["progress"][json.dumps(steps)] = done
        self.save()


class Agent:
    def __init__(self, options: list[str]) -> None:
        self.options = options
        self.wire = Wire()
        self.sessions: dict[str, Session] = {}
        self.directory = -1

    def serve(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "method" not in message:
                self.wire.answered(message)
            elif message["method"] == "session/prompt":
                threading.Thread(target=self.prompt, args=[message], daemon=True).start()
            else:
                self.handle(message)
        while any(session.ignores_cancel for session in self.sessions.values()):
            time.sleep(1)

    def handle(self, message: dict[str, Any]) -> None:
        method, params = message["method"], message.get("params") or {}
        if method == "session/cancel":
            session = self.sessions.get(params["sessionId"])
            if session is not None and not session.ignores_cancel:
                for script in session.running:
                    script.cancelled.set()
            return
        if "id" not in message:
            return
        if "--garbage" in self.options:
            self.wire.raw(b"Welcome to the agent!\nTip: this is not JSON.\n")
            return
        answer = {
            "initialize": self.initialize,
            "session/new": self.new,
            "session/load": self.load,
            "session/resume": self.load,
            "session/set_mode": self.set_mode,
        }.get(method)
        if answer is None:
            self.wire.refuse(message["id"], -32601, "Method not found")
            return
        answer(message["id"], params)

    def initialize(self, request: Any, _params: dict[str, Any]) -> None:
        if "--hang-init" in self.options:
            return
        can: dict[str, Any] = {"loadSession": "--no-load" not in self.options}
        if "--resume" in self.options:
            can["sessionCapabilities"] = {"resume": {}}
        self.wire.reply(
            request, {"protocolVersion": 1, "agentCapabilities": can, "authMethods": []}
        )

    def new(self, request: Any, params: dict[str, Any]) -> None:
        if "--auth-required" in self.options:
            self.wire.refuse(request, -32000, "Authentication required")
            return
        session = Session(f"fake-{os.getpid()}-{time.time_ns()}")
        session.save()
        self._open(request, session, params)

    def load(self, request: Any, params: dict[str, Any]) -> None:
        session = Session.read(params["sessionId"])
        flags = session.stored["flags"] if session else []
        if "crash_on_load" in flags:
            os._exit(3)
        if session is None or "no_load" in flags or "--unknown-session" in self.options:
            self.wire.refuse(request, -32002, "Resource not found", {"id": params["sessionId"]})
            return
        if "--resume" not in self.options:
            for entry in session.stored["history"]:
                kind = "user" if entry["role"] == "user" else "agent"
                content = {"type": "text", "text": entry["text"]}
                self.wire.update(
                    session.id, {"sessionUpdate": f"{kind}_message_chunk", "content": content}
                )
        self._open(request, session, params)

    def _open(self, request: Any, session: Session, params: dict[str, Any]) -> None:
        os.chdir(params["cwd"])
        if self.directory < 0:
            self.directory = os.open(".", os.O_RDONLY)
            try:
                fcntl.flock(self.directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note("overlaps.jsonl", cwd=os.getcwd())
        self.sessions[session.id] = session
        modes = [{"id": mode, "name": mode.title()} for mode in MODES]
        self.wire.reply(
            request,
            {
                "sessionId": session.id,
                "modes": {"currentModeId": "default", "availableModes": modes},
            },
        )

    def set_mode(self, request: Any, params: dict[str, Any]) -> None:
        if os.path.exists(home("kill-worker")):
            os.unlink(home("kill-worker"))
            os.kill(os.getppid(), signal.SIGKILL)
        self.sessions[params["sessionId"]].mode = params["modeId"]
        self.wire.reply(request, {})

    def prompt(self, message: dict[str, Any]) -> None:
        params = message["params"]
        session = self.sessions.get(params["sessionId"])
        if session is None:
            self.wire.refuse(message["id"], -32002, "Resource not found")
            return
        text = "".join(part.get("text", "") for part in params["prompt"])
        note("prompts.jsonl", session=session.id, text=text)
        if session.second_cancels_first:
            for earlier in session.running:
                earlier.cancelled.set()
        script = Script(self.wire, session, text)
        session.running.append(script)
        with session.one_at_a_time:
            session.heard(text)
            try:
                result: dict[str, Any] = {"stopReason": script.run()}
            except TurnError as error:
                self.wire.refuse(message["id"], error.code, error.message, error.data)
            except Exception as error:  # noqa: BLE001 - a mistake in a test's script must be seen
                self.wire.refuse(message["id"], -32603, f"bad script: {error!r}")
            else:
                if script.usage:
                    result["usage"] = script.usage
                self.wire.reply(message["id"], result)
            finally:
                session.running.remove(script)


def main(options: list[str]) -> None:
    if "--die-at-start" in options:
        sys.stderr.write("fatal: cannot find the configuration\n")
        raise SystemExit(2)
    if "--slow-start" in options:
        time.sleep(float(options[options.index("--slow-start") + 1]))
    note("starts.jsonl", cwd=os.getcwd())
    agent = Agent(options)

    def on_term(_number: int, _frame: object) -> None:
        if not any(session.ignores_cancel for session in agent.sessions.values()):
            os._exit(143)

    signal.signal(signal.SIGTERM, on_term)
    agent.serve()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
