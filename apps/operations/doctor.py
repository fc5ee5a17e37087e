"""What this installation has and lacks, for a person who wants to know why something doesn't work.

Looks only: no directory, database, key or code is made. A server may be running meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import connection

from apps.accounts import setup_code
from apps.agents.presets import PresetProblem, all_presets
from apps.credentials.models import Credential
from apps.host import programs, redis_server
from apps.host.disk import free_bytes
from apps.operations import preflight
from apps.operations.serving import database
from apps.runs import limits
from apps.runs.leases import sightings

Status = Literal["ok", "note", "missing", "problem"]

OLDEST_GIT = (2, 31)
_REDIS_ANSWERS_WITHIN_S = 2.0
_AGENTS = {
    "claude": "npm install -g @anthropic-ai/claude-code",
    "codex": "npm install -g @openai/codex",
    "gemini": "npm install -g @google/gemini-cli",
    "opencode": "npm install -g opencode-ai",
}
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY")


@dataclass(frozen=True)
class Finding:
    """`problem`: the server can't be used like this; `missing`: only something optional is.

    `advice`: how to get what is missing, or out of the problem.
    """

    name: str
    status: Status
    detail: str
    advice: str = ""


def examine() -> list[Finding]:
    """Everything, in the order in which it is needed. Takes as long as the slowest program's answer."""
    # Threads touch no database: each would leave a connection of its own.
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = [pool.submit(_agent, name, advice) for name, advice in _AGENTS.items()]
        findings = [_git(), _redis(), _data_directory()]
        found_database, migrated = _database()
        findings.append(found_database)
        presets = list(_presets())
        agents = [future.result() for future in asked]
    findings += [*presets, *agents, _sandbox(), _keys()]
    if migrated:
        findings += [_stored_credentials(), _worker(), *_setup_code()]
    connection.close()
    return findings


def usable(findings: list[Finding]) -> bool:
    return all(finding.status != "problem" for finding in findings)


def _git() -> Finding:
    advice = "Debian: apt install git"
    path = programs.find("git")
    if path is None:
        return Finding("git", "problem", "not on PATH", advice)
    try:
        version = programs.version(path)
    except programs.ProgramProblem as problem:
        return Finding("git", "problem", f"{path} {problem}", advice)
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_GIT:
        oldest = ".".join(str(part) for part in OLDEST_GIT)
        return Finding(
            "git", "problem", f"{version} ({path}) is too old", f"install {oldest} or later"
        )
    return Finding("git", "ok", f"{version} ({path})")


def _redis() -> Finding:
    return _embedded_redis() if settings.REDIS_EMBEDDED else _redis_server()


def _embedded_redis() -> Finding:
    try:
        program = redis_server.require_program()
    except redis_server.RedisServerProblem as problem:
        what, _, advice = str(problem).rpartition("; ")
        return Finding("redis", "problem", what, advice)
    try:
        version = programs.version(program.path)
    except programs.ProgramProblem as problem:
        advice = "install valkey-server or redis-server, or set KANBAN_REDIS_URL"
        return Finding("redis", "problem", f"{program.path} {problem}", advice)
    origin = "embedded" if program.bundled else str(program.path)
    if not running():
        return Finding("redis", "ok", f"{version} ({origin})")
    if redis_server.answers(settings.REDIS_SOCKET, within=1.0):
        return Finding("redis", "ok", f"{version} ({origin}) runs")
    detail = f"the server runs, but its Redis doesn't answer on {settings.REDIS_SOCKET}"
    return Finding(
        "redis", "problem", detail, f"see {redis_server.log_file(settings.REDIS_SOCKET)}"
    )


def _redis_server() -> Finding:
    parts = urlsplit(settings.REDIS_URL)
    # Never the whole URL: it may hold a password.
    where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=_REDIS_ANSWERS_WITHIN_S,
            socket_connect_timeout=_REDIS_ANSWERS_WITHIN_S,
            retry=None,
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as problem:
        detail = f"{where} can't be used: {_first_line(problem)}"
        advice = "start it, correct KANBAN_REDIS_URL, or unset that for the embedded one"
        return Finding("redis", "problem", detail, advice)
    return Finding("redis", "ok", f"{where} answers")


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


def running() -> int:
    """The process id of the server that uses the data directory; 0 if there is none, or it is hidden."""
    try:
        descriptor = os.open(settings.DATA_DIR / "serve.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        try:
            pid = int(os.read(descriptor, 32))
            os.kill(pid, 0)
        except PermissionError:
            pass
        except (ValueError, OSError):
            # Asked first, so that the lock of a directory at rest isn't taken from a server that starts.
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid
        return 0
    finally:
        os.close(descriptor)


def _data_directory() -> Finding:
    path = settings.DATA_DIR

    def problem(text: str, advice: str = "choose another with KANBAN_DATA_DIR") -> Finding:
        return Finding("data directory", "problem", f"{path} {text}", advice)

    nearest = path
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        return problem("can't be made" if nearest != path else "is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK) or os.statvfs(nearest).f_blocks == 0:
        # A file system without blocks, such as /proc, takes no files whatever its modes say.
        return problem("can't be written" if nearest == path else "can't be made")
    if connection.vendor == "sqlite":
        try:
            preflight.refuse_network_filesystem(path)
        except preflight.StartProblem as refused:
            what, _, advice = str(refused).partition("; ")
            return Finding("data directory", "problem", what, advice)
    free = free_bytes(nearest)
    if free < limits.LOW_DISK_BYTES:
        return problem(f"has only {free >> 20} MB free", "make room: agents wait below 1 GB")
    space = f"{free / (1 << 30):.1f} GB free"
    if nearest != path:
        return Finding("data directory", "ok", f"{path} is made at the first start, {space}")
    used = f", in use by the running server (process {pid})" if (pid := running()) else ""
    return Finding("data directory", "ok", f"{path}, {space}{used}")


def _database() -> tuple[Finding, bool]:
    """And whether its tables may be asked."""
    sqlite = connection.vendor == "sqlite"
    name = f"SQLite {sqlite3.sqlite_version}" if sqlite else "PostgreSQL"
    try:
        todo = len(database.pending())
    except preflight.StartProblem as problem:
        advice = "" if "; " in str(problem) else _database_help(sqlite=sqlite)
        return Finding("database", "problem", str(problem), advice), False
    if not sqlite:
        version = connection.cursor().connection.info.server_version
        name += f" {version // 10000}.{version % 10000}"
    elif not os.path.exists(settings.DATABASES["default"]["NAME"]):  # noqa: PTH110 - never raises
        return Finding("database", "ok", f"{name}, made at the first start"), not todo
    if todo:
        detail = f"{name}, {todo} migrations pending"
        if running():
            return Finding(
                "database", "problem", detail, "restart the server: it applies them"
            ), False
        return Finding("database", "ok", detail, "serve applies them at its start"), not todo
    return Finding("database", "ok", f"{name}, up to date"), True


def _database_help(*, sqlite: bool) -> str:
    if sqlite:
        file = settings.DATABASES["default"]["NAME"]
        return f"look after {file}, or put a copy back, as docs/reliability.md says"
    return "start it, or correct KANBAN_DATABASE_URL"


def _presets() -> Iterator[Finding]:
    try:
        presets = all_presets()
    except PresetProblem as problem:
        yield Finding("presets", "problem", str(problem), "correct the file")
        return
    except OSError as problem:
        detail = f"{problem.filename} can't be read: {problem.strerror}"
        yield Finding("presets", "problem", detail, "correct KANBAN_DATA_DIR or its permissions")
        return
    for preset in presets.values():
        program = preset.command[0]
        if path := programs.find(program):
            yield Finding(f"preset {preset.id}", "ok", f"{preset.name} ({path})")
        else:
            advice = f"install it, or correct {settings.DATA_DIR / 'presets.toml'}"
            yield Finding(f"preset {preset.id}", "missing", f"{program} was not found", advice)


def _agent(program: str, advice: str) -> Finding:
    name = f"agent {program}"
    path = programs.find(program)
    if path is None:
        return Finding(name, "missing", "not on PATH (optional)", advice)
    try:
        return Finding(name, "ok", f"{programs.version(path)} ({path})")
    except programs.ProgramProblem as problem:
        return Finding(name, "missing", f"{path} {problem}", f"install it anew: {advice}")


def _sandbox() -> Finding:
    try:
        preflight.require_sandbox(setting=settings.SANDBOX, loopback=settings.LOOPBACK)
    except preflight.StartProblem as refused:
        return Finding("sandbox", "problem", str(refused), "set KANBAN_SANDBOX=off")
    problem = programs.sandbox_problem()
    return Finding(
        "sandbox",
        "note",
        "agents run with the rights of the server's user; this version has no sandbox"
        f" (bubblewrap {'works' if problem is None else 'does not work'} here)",
    )


def _keys() -> Finding:
    names = [name for name in _KEYS if os.environ.get(name, "").strip()]
    if not names:
        advice = "set one of " + ", ".join(_KEYS) + ", or store a credential: POST /api/credentials"
        return Finding("API keys", "note", "none in this environment (optional)", advice)
    if not settings.SHARE_SERVER_KEYS:
        advice = "set KANBAN_SHARE_SERVER_KEYS=on to let projects use them"
        return Finding("API keys", "note", f"{', '.join(names)}, not shared with projects", advice)
    return Finding("API keys", "ok", ", ".join(names))


def _stored_credentials() -> Finding:
    ready = Credential.objects.filter(status=Credential.Status.READY).count()
    if ready:
        return Finding("credentials", "ok", f"{ready} stored")
    return Finding("credentials", "missing", "none stored", "store one: POST /api/credentials")


def _worker() -> Finding:
    try:
        seen = sightings(settings.DATA_DIR)
    except OSError as problem:
        detail = f"{problem.filename} can't be read: {problem.strerror}"
        return Finding("worker", "problem", detail, "run doctor as the server's user")
    if any(not each.silent for each in seen):
        return Finding("worker", "ok", "one is at work")
    if seen:
        detail = f"process {seen[0].pid} is there, but gives no sign of life"
        advice = "serve replaces it within 35 s by itself; where nobody supervises it, end it"
        return Finding("worker", "problem", detail, advice)
    if pid := running():
        detail = f"the server runs (process {pid}), but it has no worker"
        advice = "wait some seconds if it was only just started, else read its log"
        return Finding("worker", "problem", detail, advice)
    return Finding("worker", "missing", "none is running", "start the server: manage.py serve")


def _setup_code() -> Iterator[Finding]:
    # The code's file must be the server's own: one made by another user could not be read by it.
    folder = settings.DATA_DIR
    if not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        return
    if code := setup_code.current():
        yield Finding("setup code", "note", code, "the first visit asks for it")
