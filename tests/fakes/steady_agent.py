#!/usr/bin/env python3
"""An agent for measuring under load: numbered messages at a steady pace, for as little CPU as possible.

For each `[steady 20/s for 60 s after FILE]` of a prompt it makes that many tool calls, each a message of its
own, once the file is there. Their titles are `steady <number> <CLOCK_MONOTONIC in ns>`, numbered through the
whole turn. Agents of one machine have different phases, as real ones would.
"""

import json
import os
import re
import sys
import time

STEADY = re.compile(r"\[steady (\d+)/s for ([\d.]+) s after ([^\]]+)\]")
TAIL = (
    '"kind":"other","status":"completed","rawInput":{"path":"src/part.py"},'
    '"content":[{"type":"content","content":{"type":"text","text":"' + "x" * 200 + '"}}]}}}'
)


def send(message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def work(session: str, text: str) -> None:
    head = json.dumps({"sessionId": session})[:-1]
    ahead = time.time() - time.monotonic()
    number = 0
    for found in STEADY.finditer(text):
        rate, gate = int(found[1]), found[3]
        while not os.path.exists(gate):  # noqa: PTH110 - pathlib doubles the time to start
            time.sleep(0.1)
        next_at = os.stat(gate).st_mtime + (os.getpid() * 0.618 % 1) / rate - ahead  # noqa: PTH116
        for _ in range(int(rate * float(found[2]))):
            wait = next_at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            os.write(
                1,
                f'{{"jsonrpc":"2.0","method":"session/update","params":{head},"update":'
                f'{{"sessionUpdate":"tool_call","toolCallId":"call_{number}",'
                f'"title":"steady {number} {time.monotonic_ns()}",{TAIL}\n'.encode(),
            )
            next_at += 1 / rate
            number += 1


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        method, request = message.get("method"), message.get("id")
        if request is None:
            continue
        result: object = {}
        if method == "initialize":
            result = {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": []}
        elif method == "session/new":
            result = {"sessionId": f"steady-{os.getpid()}"}
        elif method == "session/prompt":
            params = message["params"]
            work(params["sessionId"], "".join(part["text"] for part in params["prompt"]))
            result = {"stopReason": "end_turn"}
        send({"jsonrpc": "2.0", "id": request, "result": result})


main()
