"""What a run's state means to a person, in one sentence."""

from __future__ import annotations

from apps.runs import waiting
from apps.runs.models import LIVE, State
from apps.scripts.models import ScriptRun

SERVER_STOPPED = (
    "The server was stopped while this ran, and what it had started was ended. Run it again."
)
WORKER_DIED = (
    "The server's worker died while this ran, and what it had started was ended. How far it came is not"
    " known: look before you run it again."
)
HOST_GONE = (
    "The host that this ran on has had no worker for too long; how far it came is not known. Start its"
    " worker, then run it again."
)
_QUEUED = {
    **waiting.SENTENCES,
    "previous_run": "Starts as soon as the processes of the run before are gone.",
}


def sentence(run: ScriptRun) -> str | None:
    """None where the state says it all."""
    if run.error_code:
        return run.error_message
    if run.cancel_requested and run.state in LIVE:
        return "Is being stopped: what it started has five seconds to end."
    if run.state == State.QUEUED:
        return _QUEUED.get(run.queue_reason or "", "Starts within seconds.")
    if run.state == State.INTERRUPTED:
        return "The worker that ran it has died; what it started is being ended."
    return None


def exit_sentence(code: int) -> str:
    if code > 128:
        return f"Its shell ended with status {code}: a command was killed by signal {code - 128}."
    return f"It ended with exit code {code}."
