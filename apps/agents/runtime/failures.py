"""Why an attempt failed, as a code and a sentence that a person can act on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


class Failed(Exception):
    """The attempt ends as failed. `retry_after`: seconds after which the provider would answer again."""

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


START_AGAIN = " Check that the program works on this machine, then retry by sending a message."
GO_ON = " Send a message to go on in the same conversation."


def tail(lines: Iterable[str], limit: int = 600) -> str:
    text = "\n".join(line for line in lines if line.strip()).strip()
    return text[-limit:]


def died(name: str, returncode: int | None, stderr: str, *, starting: bool) -> Failed:
    code = returncode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {returncode}"
    when = "before it was ready" if starting else "in the middle of its work"
    last = f" Its last words: {quoted(stderr)}" if stderr else " It said nothing."
    hint = START_AGAIN if starting else GO_ON
    return Failed(
        "agent_start_failed" if starting else "agent_died", f"{name} {how} {when}.{last}{hint}"
    )


def quoted(words: str) -> str:
    """Of a program, which ends them as it likes: what is said after them must not run on from there."""
    return f"“{words}”."


def from_rpc(name: str, code: int, message: str, data: Any, stderr: str) -> Failed:
    """An error that the agent answered with; what counts is in different places for each of them."""
    details = data if isinstance(data, dict) else {}
    kind = str(details.get("errorKind") or "")
    status = details.get("status") or details.get("status_code")
    text = str(details.get("message") or details.get("details") or message)
    if code == -32000 or status == 401 or code == 401 or "authentication" in text.lower():
        return Failed(
            "auth_failed",
            f"{_led('The provider refused the credential', text)} Give the credential an API key that works,"
            " or choose another one for the card or the project; then send a message to go on.",
        )
    if kind == "rate_limit" or status == 429:
        return Failed(
            "rate_limited",
            _led("The provider's rate or usage limit is reached", text),
            retry_after=_seconds(details.get("retryAfter")),
        )
    if kind == "server_error" or (isinstance(status, int) and status >= 500):
        return Failed(
            "provider_error",
            f"{_led('The provider answered with an error', text)} Send a message to try again.",
        )
    # The last line alone: what stands above it is a traceback of somebody else's program.
    said = stderr.splitlines()[-1].strip()[:200] if stderr else ""
    last = f" ({said})" if said and said not in text and text not in said else ""
    return Failed(
        "agent_error",
        f"{_led(f'{name} reported an error', text, last)} Send a message to try again.",
    )


def _led(lead: str, text: str, more: str = "") -> str:
    """One sentence of it; what says of the provider already what happened needs no lead."""
    text = text.strip().rstrip(".")
    return f"{text}{more}." if text.startswith("The provider") else f"{lead}: {text}{more}."


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if value >= 0 else None
