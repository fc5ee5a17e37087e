"""What reading the agents' lines costs at the least.

`python -m tests.bench.bare_reader <agents> <rate> <seconds>`: one asyncio program starts the agents, awaits
each of their lines, parses it and does nothing with it. Prints the CPU time that a line took, in
microseconds, starting and ending left out.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.process.board import STEADY_AGENT
from tests.process.server import ROOT


def ask(agents: int, rate: int, seconds: float) -> float:
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench.bare_reader", str(agents), str(rate), str(seconds)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(said)


async def _read(agents: int, rate: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder) / "gate"
        text = f"[steady {rate}/s for {seconds} s after {gate}]"
        params = {"sessionId": "bare", "prompt": [{"type": "text", "text": text}]}
        prompt = {"jsonrpc": "2.0", "id": 1, "method": "session/prompt", "params": params}
        processes = [
            await asyncio.create_subprocess_exec(
                *STEADY_AGENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(agents)
        ]
        lines = 0

        async def follow(process: asyncio.subprocess.Process) -> None:
            nonlocal lines
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(prompt).encode() + b"\n")
            while line := await process.stdout.readline():
                lines += 1
                if "result" in json.loads(line):
                    process.stdin.close()

        tasks = [asyncio.create_task(follow(process)) for process in processes]
        await asyncio.sleep(1)
        gate.touch()
        await asyncio.sleep(1)
        before, read = time.process_time(), lines
        await asyncio.sleep(seconds - 2)
        cost = (time.process_time() - before) / (lines - read)
        await asyncio.gather(*tasks)
        for process in processes:
            await process.wait()
        assert lines == agents * (rate * seconds + 1), "lines are missing"
        return 1e6 * cost


if __name__ == "__main__":
    print(asyncio.run(_read(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
