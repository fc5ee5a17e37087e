"""The scripted model provider as a process, for the built-in agent."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.process.board import Board

FAKES = Path(__file__).resolve().parents[1] / "fakes"
Script = dict[str, Any]
KEY = "sk-ant-a-key-for-tests-0123456789"


class Provider:
    """Use as a context manager; `url` is for a credential's `baseUrl`. It takes any key, or one of `keys`."""

    def __init__(self, scripts: list[Script], folder: Path, keys: list[str] | None = None) -> None:
        self._scenario = folder / "scenario.json"
        scenario = {
            "name": "test",
            "side_reply": "ok",
            "scripts": scripts,
            "valid_keys": keys or [],
        }
        self._scenario.write_text(json.dumps(scenario))
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Provider:
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(FAKES / "mock_provider.py"),
                "--scenario",
                str(self._scenario),
                "--port",
                "0",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]
        return self

    def requests(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/__mock__/requests") as answer:
            found = json.load(answer)
        return list(found["requests"] if isinstance(found, dict) else found)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(5)
        if self._process.stdout:
            self._process.stdout.close()


def store_key(board: Board, provider: Provider) -> str:
    """A credential that leads to the provider; returns its id."""
    made: str = board.api.post(
        "/credentials",
        {
            "name": "Model",
            "provider": "anthropic",
            "apiKey": KEY,
            "baseUrl": provider.url,
            "model": "claude-sonnet-4-5",
        },
    )["id"]
    return made
