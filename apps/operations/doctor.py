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
from apps.runs.leases import DEAD_AFTER_S, any_alive

State = Literal["ok", "missing", "problem"]

OLDEST_GIT = (2, 31)
LOW_DISK_BYTES = 1 << 30
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
    """`help`: how to get what is missing, or out of the problem. `needed`: nothing serves without it."""

    name: str
    state: State
    text: str
    help: str = ""
    needed: bool = False

    @property
    def blocks(self) -> bool:
        return self.needed and self.state != "ok"


def examine() -> list[Finding]:
    """Everything, in the order in which it is needed. Takes as long as the slowest program's answer."""
    # Threads touch no database: each would leave a connection of its own.
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = [pool.submit(_agent, name, how) for name, how in _AGENTS.items()]
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
    return not any(finding.blocks for finding in findings)


def _git() -> Finding:
    how = "install it (Debian: apt install git)"
    path = programs.find("git")
    if path is None:
        return Finding("git", "missing", "not on PATH", how, needed=True)
    try:
        version = programs.version(path)
    except programs.ProgramProblem as problem:
        return Finding("git", "problem", f"{path} {problem}", how, needed=True)
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_GIT:
        oldest = ".".join(str(part) for part in OLDEST_GIT)
        text = f"{version} ({path}) is too old"
        return Finding("git", "problem", text, f"install {oldest} or later", needed=True)
    return Finding("git", "ok", f"{version} ({path})", needed=True)


def _redis() -> Finding:
    return _embedded_redis() if settings.REDIS_EMBEDDED else _redis_server()


def _embedded_redis() -> Finding:
    try:
        program = redis_server.require_program()
    except redis_server.RedisServerProblem as problem:
        what, _, how = str(problem).rpartition("; ")
        return Finding("redis", "missing", what, how, needed=True)
    try:
        version = programs.version(program.path)
    except programs.ProgramProblem as problem:
        how = "install valkey-server or redis-server, or set KANBAN_REDIS_URL"
        return Finding("redis", "problem", f"{program.path} {problem}", how, needed=True)
    origin = "embedded" if program.bundled else str(program.path)
    if running() and not redis_server.answers(settings.REDIS_SOCKET, within=1.0):
        return Finding(
            "redis",
            "problem",
            f"the server runs, but its Redis doesn't answer on {settings.REDIS_SOCKET}",
            f"see {redis_server.log_file(settings.REDIS_SOCKET)}",
            needed=True,
        )
    return Finding("redis", "ok", f"{version} ({origin})", needed=True)


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
        text = f"{where} can't be used: {_first_line(problem)}"
        how = "start it, correct KANBAN_REDIS_URL, or unset that for the embedded one"
        return Finding("redis", "problem", text, how, needed=True)
    return Finding("redis", "ok", f"{where} answers", needed=True)


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

    def problem(text: str, how: str = "choose another with KANBAN_DATA_DIR") -> Finding:
        return Finding("data directory", "problem", f"{path} {text}", how, needed=True)

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
            what, _, how = str(refused).partition("; ")
            return Finding("data directory", "problem", what, how, needed=True)
    free = free_bytes(nearest)
    if free < LOW_DISK_BYTES:
        return problem(f"has only {free >> 20} MB free", "make room: agents wait below 1 GB")
    space = f"{free / (1 << 30):.1f} GB free"
    if nearest != path:
        return Finding("data directory", "ok", f"{path} is made at the first start, {space}")
    used = f", in use by the running server (process {pid})" if (pid := running()) else ""
    return Finding("data directory", "ok", f"{path}, {space}{used}", needed=True)


def _database() -> tuple[Finding, bool]:
    """And whether its tables may be asked."""
    sqlite = connection.vendor == "sqlite"
    name = f"SQLite {sqlite3.sqlite_version}" if sqlite else "PostgreSQL"
    try:
        todo = len(database.pending())
    except preflight.StartProblem as problem:
        how = "" if "; " in str(problem) else _database_help(sqlite=sqlite)
        return Finding("database", "problem", str(problem), how, needed=True), False
    if not sqlite:
        version = connection.cursor().connection.info.server_version
        name += f" {version // 10000}.{version % 10000}"
    elif not os.path.exists(settings.DATABASES["default"]["NAME"]):  # noqa: PTH110 - never raises
        return Finding("database", "ok", f"{name}, made at the first start", needed=True), False
    if todo:
        text = f"{name}, {todo} migrations pending"
        return Finding("database", "ok", text, "serve applies them at its start", True), False
    return Finding("database", "ok", f"{name}, up to date", needed=True), True


def _database_help(*, sqlite: bool) -> str:
    if sqlite:
        return f"look after {settings.DATABASES['default']['NAME']}, or restore a backup"
    return "start it, or correct KANBAN_DATABASE_URL"


def _presets() -> Iterator[Finding]:
    try:
        presets = all_presets()
    except PresetProblem as problem:
        yield Finding("presets", "problem", str(problem), "correct the file", needed=True)
        return
    for preset in presets.values():
        program = preset.command[0]
        if path := programs.find(program):
            yield Finding(f"agent {preset.id}", "ok", f"{preset.name} ({path})")
        else:
            how = f"install it, or correct {settings.DATA_DIR / 'presets.toml'}"
            yield Finding(f"agent {preset.id}", "missing", f"{program} was not found", how)


def _agent(program: str, how: str) -> Finding:
    path = programs.find(program)
    if path is None:
        return Finding(program, "missing", "not on PATH (optional)", how)
    try:
        return Finding(program, "ok", f"{programs.version(path)} ({path})")
    except programs.ProgramProblem as problem:
        return Finding(program, "problem", f"{path} {problem}", f"install it anew: {how}")


def _sandbox() -> Finding:
    required = settings.SANDBOX == "on"
    path = programs.find("bwrap")
    if path is None:
        how = "install bubblewrap (Debian: apt install bubblewrap; Linux only)"
        return Finding("sandbox", "missing", "bwrap is not on PATH", how, needed=required)
    try:
        return Finding("sandbox", "ok", f"bwrap {programs.version(path)} is there", needed=required)
    except programs.ProgramProblem as problem:
        how = "install bubblewrap anew"
        return Finding("sandbox", "problem", f"{path} {problem}", how, needed=required)


def _keys() -> Finding:
    names = [name for name in _KEYS if os.environ.get(name, "").strip()]
    if not names:
        how = "set one of " + ", ".join(_KEYS) + ", or store credentials on the page"
        return Finding("API keys", "missing", "none in this environment (optional)", how)
    if not settings.SHARE_SERVER_KEYS:
        how = "set KANBAN_SHARE_SERVER_KEYS=on to let projects use them"
        return Finding("API keys", "ok", f"{', '.join(names)}, not shared with projects", how)
    return Finding("API keys", "ok", ", ".join(names))


def _stored_credentials() -> Finding:
    ready = Credential.objects.filter(status=Credential.Status.READY).count()
    if ready:
        return Finding("credentials", "ok", f"{ready} stored")
    return Finding(
        "credentials", "missing", "none stored", "add one on the page, under Credentials"
    )


def _worker() -> Finding:
    if any_alive(DEAD_AFTER_S):
        return Finding("worker", "ok", "one is at work")
    if pid := running():
        text = f"the server runs (process {pid}), but no worker gives a sign of life"
        how = f"wait {DEAD_AFTER_S:.0f} s if it was only just started, else read its log"
        return Finding("worker", "problem", text, how, needed=True)
    return Finding("worker", "missing", "none is running", "start the server: manage.py serve")


def _setup_code() -> Iterator[Finding]:
    # The code's file must be the server's own: one made by another user could not be read by it.
    folder = settings.DATA_DIR
    if not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        return
    if code := setup_code.current():
        yield Finding("setup code", "ok", f"{code} is asked for at the first visit")
