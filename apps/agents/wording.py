"""What a session's state means to a person: what happened, and what will happen next, in one sentence."""

from __future__ import annotations

from datetime import datetime

from apps.agents.models import MOST_RESUMES, AgentSession
from apps.runs import waiting
from apps.runs.models import LIVE, State

_QUEUED = {
    **waiting.SENTENCES,
    "max_agents": "Waits for a place: as many agents work on this host as are allowed.",
    "project_limit": "Waits for a place: as many agents work in this project as it allows.",
    "wip_limit": "Waits for a place in its column, whose limit of work in progress is reached.",
    "worktree_busy": "Another process still has the card's worktree in hand; it is tried again every few"
    " seconds.",
    "repository_busy": "Another worktree of the repository is being made; it is tried again every few"
    " seconds.",
    "previous_agent": "Starts as soon as the processes of the card's previous agent are gone.",
    "path_in_use": "Starts when the agent that works in the same directory has ended.",
    "resuming_one_by_one": "The worker died more than once in a short time, so interrupted work is taken"
    " up one by one; this is in line.",
}
_WAITING = {
    "plan": "The agent has a plan and waits for somebody to approve it or to say what to change.",
    "permission": "The agent waits for somebody's leave to use a tool.",
    "question": "The agent waits for somebody's answer to a question.",
    "message": "Its plan was not approved; it waits for a message that says how to go on.",
}
_PARKED = "it keeps no process in memory meanwhile, an answer starts it again."
# Another container's worker keeps its work for as long as it lives: nobody else could end its processes.
_CUT_OFF = " If its container is paused or cut off, that has to be continued or restarted first."
_SILENT = (
    "The worker that runs it has given no sign of life for some seconds; if it stays silent, another one"
    f" takes the work up, usually within a minute.{_CUT_OFF}"
)
_FULL = "The server's disk is full, so the work may stand still; it goes on when there is room."
_STOPPED = "Is being stopped; its processes are gone within seconds."
_STOPPED_WHILE_SILENT = (
    "Is being stopped; the worker that runs it has given no sign of life for some seconds, so that takes"
    f" longer, usually up to a minute.{_CUT_OFF}"
)


def sentence(session: AgentSession, *, silent: bool = False, full: bool = False) -> str | None:
    """None where the state says it all. `silent`: its worker is, so that nothing it promised will happen.
    `full`: the disk is.
    """
    if session.error_code:
        return session.error_message
    if session.cancel_requested and session.state in LIVE:
        return _STOPPED_WHILE_SILENT if silent else _STOPPED
    if full and session.state in (State.STARTING, State.RUNNING, State.INTERRUPTED):
        return _FULL
    if silent and session.state in (State.STARTING, State.RUNNING):
        return _SILENT
    reason = _QUEUED.get(session.queue_reason or "")
    if session.state == State.QUEUED:
        return reason or "Starts within seconds."
    if session.state == State.INTERRUPTED:
        return reason or (
            f"The worker that ran it {'died' if session.deaths else 'has gone'}; the work is taken up by"
            f" itself, within half a minute{_attempt(session)}."
        )
    if session.state == State.STARTING and session.deaths:
        return (
            "The worker that ran it died; the agent is started again to finish the work"
            f"{_attempt(session)}."
        )
    if session.state == State.WAITING:
        return _waiting(session)
    return None


def _attempt(session: AgentSession) -> str:
    if not 0 < session.deaths <= MOST_RESUMES:
        return ""
    return f" (attempt {session.deaths + 1} of {MOST_RESUMES + 1})"


def _waiting(session: AgentSession) -> str | None:
    reason = session.waiting_for or {}
    if reason.get("kind") == "limit":
        until = moment(datetime.fromisoformat(reason["until"]))
        return f"The provider's rate or usage limit is reached; it goes on by itself on {until}."
    text = _WAITING.get(str(reason.get("kind")))
    if text is not None and session.waits_for_answer and session.worker_id is None:
        return f"{text.removesuffix('.')}; {_PARKED}"
    return text


def moment(at: datetime) -> str:
    """For a sentence: whoever needs it to the microsecond finds it in the fields."""
    return f"{at:%Y-%m-%d at %H:%M:%S} UTC"
