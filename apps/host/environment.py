"""What an agent, a script or a shell finds in its environment, and where its HOME is.

An allow-list: whatever the server was started with (secrets, database, Redis, its own Python) stays here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

# Their addresses may hold a password, without which nothing would get through.
PROXIES = frozenset(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
)
_PASSED_ON = PROXIES | frozenset(
    """
    LANG LANGUAGE TZ TERM COLORTERM NO_PROXY no_proxy
    SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS
    GIT_SSL_CAINFO GIT_SSL_CAPATH
    """.split()  # noqa: SIM905 - fifteen quoted words a line say less
)
_NEVER = frozenset(("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SSH_AUTH_SOCK", "SSH_AGENT_PID"))
_NEVER_PREFIXES = ("DJANGO_", "KANBAN_")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def search_path() -> str:
    """PATH without the virtual environment that the server runs in, and without relative entries.

    An agent's `python` and `pip` must be the machine's, not ours.
    """
    return _without_ours(os.environ.get("PATH", ""), os.environ.get("VIRTUAL_ENV", ""))


# Asked for with every git call; resolving a dozen directories takes a tenth of that call's time.
@lru_cache(maxsize=4)
def _without_ours(path: str, active: str) -> str:
    own = {Path(sys.prefix, "bin")} if sys.prefix != sys.base_prefix else set()
    if active:
        own.add(Path(active, "bin"))
    own |= {Path(os.path.realpath(folder)) for folder in own}
    kept = [
        entry
        for entry in path.split(os.pathsep)
        if entry.startswith("/")
        and Path(entry) not in own
        and Path(os.path.realpath(entry)) not in own
    ]
    return os.pathsep.join(dict.fromkeys(kept)) or _DEFAULT_PATH


def is_forbidden(name: str) -> bool:
    """Whether no agent may get a variable of this name, not even from its own settings."""
    return name in _NEVER or name.startswith(_NEVER_PREFIXES)


def work_as(worker_id: str) -> None:
    """From now on what this process starts for runs bears the name of that worker."""
    os.environ["BOARD_WORKER"] = worker_id


def marks(run: str) -> dict[str, str]:
    """By what everything that a run starts can be found: the run, and the worker that it came from.

    In the worker and in whatever it has started alike; a process that belongs to no worker names none.
    """
    worker = os.environ.get("BOARD_WORKER")
    return {"BOARD_RUN": run, "BOARD_WORKER": worker} if worker else {"BOARD_RUN": run}


def agent_environment(
    *,
    home: Path,
    extra: Mapping[str, str],
    person: tuple[str, str],
    marker: str,
) -> dict[str, str]:
    """The whole environment for a process of a run.

    `extra`: the credential's and the preset's variables; they win over what is passed on, but names
    that `is_forbidden` are dropped, and HOME and BOARD_RUN can't be changed. `person`: name and
    address of whoever started it, git's author and committer.
    """
    chosen = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("LC_")
    }
    name, email = (_one_line(part) for part in person)
    chosen |= {
        "PATH": search_path(),
        "GIT_AUTHOR_NAME": name or "Kanban Agents",
        "GIT_AUTHOR_EMAIL": email or "agent@localhost",
        "GIT_COMMITTER_NAME": name or "Kanban Agents",
        "GIT_COMMITTER_EMAIL": email or "agent@localhost",
        # Nobody sits at a terminal to answer git's question for a password.
        "GIT_TERMINAL_PROMPT": "0",
    }
    chosen.setdefault("LANG", "C.UTF-8")
    chosen.setdefault("TERM", "dumb")
    chosen |= {key: value for key, value in extra.items() if not is_forbidden(key)}
    chosen |= {"HOME": str(home), "BOARD_RUN": marker}
    return chosen


def _one_line(text: str) -> str:
    """Without what git refuses in a name, or takes for its own punctuation."""
    return "".join(char for char in text if char not in "<>\n\r\0").strip()


def homes_dir(data_dir: Path) -> Path:
    return data_dir / "homes"


def home_for(data_dir: Path, project_id: str, credential_id: str) -> Path:
    """The HOME of a project's agents that use one credential; made if needed, for this user only.

    Agents keep their sessions there, so it stays between runs. Ids are wire ids.
    """
    for part in (project_id, credential_id):
        if not part or part.startswith(".") or "/" in part or "\0" in part:
            raise ValueError(f"not an id: {part!r}")
    home = homes_dir(data_dir) / project_id / credential_id
    for folder in (home.parent.parent, home.parent, home):
        folder.mkdir(exist_ok=True, mode=0o700, parents=True)
        folder.chmod(0o700)
    return home
