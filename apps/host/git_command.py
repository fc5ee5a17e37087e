"""Running git on repositories that nobody vouches for.

An agent can write to a repository's configuration and attributes, so nothing there may start a program
as the server. Three measures, each of which holds without the others:

* the environment is an allow-list: whatever should run nevertheless finds no secret, no HOME, no agent;
* settings that name programs are overridden in git's strongest scope (monitor, hooks, ssh, helpers), and
  protocols are off unless a call is about a remote;
* every `filter.*` driver that the configuration defines is emptied by name. That holds for Git LFS too, whose
  own settings may name programs: LFS files appear as their pointers in a worktree until the project's setup
  script runs `git lfs pull`.

GitPython isn't used: its calls start from the server's whole environment, its pure reader needs longer
for HEAD (3 ms) than git itself (2 ms), and importing it costs as much as a tenth of the start.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from apps.host import proc
from apps.host.environment import marks, search_path
from apps.host.errors import GitFailed
from apps.host.parent_death import Tied, tied
from apps.host.privacy import peoples_umask

TIMEOUT_S = 60.0
# To remove its locks in, once it is asked to end.
_GRACE_S = 5.0
_CONFIG_LIMIT = 1 << 20
_PIECE = 1 << 16
# Of git's error output the end is kept, in bytes.
_SAID = 2_000

_OVERRIDES: tuple[tuple[str, str], ...] = (
    ("safe.directory", "*"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.sshCommand", "false"),
    ("core.askPass", "false"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("core.alternateRefsCommand", "true"),
    ("credential.helper", ""),
    ("core.splitIndex", "false"),
    ("core.quotePath", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("core.safecrlf", "false"),
    ("diff.ignoreSubmodules", "dirty"),
    ("diff.suppressBlankEmpty", "false"),
    ("status.submoduleSummary", "false"),
    ("worktree.guessRemote", "false"),
)


@dataclass(frozen=True)
class GitDirs:
    """Where a working tree's git data is: its own, and what it shares with the other worktrees."""

    own: Path
    common: Path


@dataclass(frozen=True)
class Tree:
    """A working tree, with git pinned to it: neither a `.git` above nor `core.worktree` leads elsewhere."""

    path: Path
    dirs: GitDirs
    overrides: tuple[tuple[str, str], ...] = field(default=())


def _small_text(path: Path) -> str:
    """Content of a small regular file; "" if it is missing or something else (a pipe would block)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.fsdecode(os.read(descriptor, _CONFIG_LIMIT + 1))
    finally:
        os.close(descriptor)


def locate(path: Path) -> GitDirs | None:
    """Git data of the working tree whose top is `path`, read without git; None if it is none."""
    own = path / ".git"
    if own.is_file():
        kind, _, where = _small_text(own).partition("gitdir:")
        if kind or not where.strip():
            return None
        own = path / where.strip()
    if not (own / "HEAD").is_file():
        return None
    shared = _small_text(own / "commondir").strip()
    return GitDirs(own, Path(os.path.realpath(own / shared)) if shared else own)


def may_configure(dirs: GitDirs, word: str) -> bool:
    """Whether the repository's configuration may have sections or keys with that word, read without git.

    They are there in the text, or in another file that the text includes: the usual repository is spared a
    process (2 ms).
    """
    texts = [
        _small_text(file).lower() for file in (dirs.common / "config", dirs.own / "config.worktree")
    ]
    return any(word in text or "include" in text or len(text) > _CONFIG_LIMIT for text in texts)


def filters_off(cwd: Path, dirs: GitDirs) -> tuple[tuple[str, str], ...]:
    """Settings that empty every filter driver which a repository's configuration defines."""
    if not may_configure(dirs, "filter"):
        return ()
    output = run(
        ["config", "--includes", "--name-only", "-z", "--get-regexp", r"^filter\."],
        cwd=cwd,
        accept=(0, 1),
    )
    names = {key.removeprefix("filter.").rpartition(".")[0] for key in split_nul(output)}
    return tuple(
        (f"filter.{name}.{key}", value)
        for name in sorted(names)
        for key, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    )


def tree(path: Path) -> Tree:
    """Prepare for calls on a working tree; GitFailed `not_a_worktree` if its git data is missing."""
    dirs = locate(path)
    if dirs is None:
        raise GitFailed(
            f"{path.name} has no git data, so its changes can't be told. Make the worktree again.",
            code="not_a_worktree",
        )
    return Tree(path, dirs, filters_off(path, dirs))


def environment(
    *, overrides: Sequence[tuple[str, str]] = (), remote: bool = False
) -> dict[str, str]:
    """The whole environment of a git call."""
    chosen = {
        "PATH": search_path(),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "false",
        "GIT_ASKPASS": "false",
        "GIT_PROXY_COMMAND": "false",
    }
    if remote:
        chosen["GIT_ALLOW_PROTOCOL"] = "https:http:ssh:file"
        chosen["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes -oConnectTimeout=8"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "GIT_SSL_CAINFO"):
            for spelling in (name, name.lower()):
                if spelling in os.environ:
                    chosen[spelling] = os.environ[spelling]
    else:
        chosen["GIT_ALLOW_PROTOCOL"] = "none"
        chosen["GIT_NO_LAZY_FETCH"] = "1"
    return chosen | configured([*_OVERRIDES, *overrides])


def configured(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Settings in git's strongest scope, as variables of its environment."""
    chosen = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        chosen[f"GIT_CONFIG_KEY_{number}"] = key
        chosen[f"GIT_CONFIG_VALUE_{number}"] = value
    return chosen


def tree_environment(
    on: Tree, index: Path | None = None, *, remote: bool = False
) -> dict[str, str]:
    chosen = environment(overrides=on.overrides, remote=remote)
    chosen["GIT_WORK_TREE"] = str(on.path)
    chosen["GIT_CEILING_DIRECTORIES"] = str(on.path.parent)
    if index is not None:
        chosen["GIT_INDEX_FILE"] = str(index)
    return chosen


class Call:
    """A git process under way. Started at once, so that several can run side by side."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        data: bytes | None = None,
        to: IO[bytes] | None = None,
        marker: str | None = None,
    ) -> None:
        """`marker`: it is part of that run, so it ends with this thread, and a sweep of the run finds it and
        what it started."""
        self.arguments = arguments
        self.data = data
        chosen = dict(env) if env is not None else environment()
        child = Tied(["git", "--no-pager", "--literal-pathspecs", *arguments], None)
        try:
            if marker is not None:
                chosen |= marks(marker)
                child = tied(child.argv, cwd=cwd, env=chosen)
            self.process = subprocess.Popen(
                child.argv,
                cwd=cwd,
                env=chosen,
                stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                stdout=subprocess.PIPE if to is None else to,
                stderr=subprocess.PIPE,
                # So that what git starts (ssh, remote helpers) can be ended with it.
                start_new_session=True,
                umask=peoples_umask(),
                preexec_fn=child.preexec_fn,
            )
        except FileNotFoundError as problem:
            if not cwd.is_dir():
                raise GitFailed(
                    f"The directory {cwd} does not exist any more.", code="directory_missing"
                ) from problem
            raise GitFailed(
                "git was not found on the server. Install git 2.31 or later.", code="git_missing"
            ) from problem
        except (NotADirectoryError, PermissionError) as problem:
            raise GitFailed(
                f"The server can't enter {cwd}: {problem.strerror}.", code="directory_missing"
            ) from problem

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._end()

    def _signal(self, number: signal.Signals) -> None:
        """To git and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _end(self) -> int:
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        return code

    def result(
        self, *, timeout: float = TIMEOUT_S, accept: Sequence[int] = (0,)
    ) -> tuple[int, bytes]:
        """Exit code and output; GitFailed unless the code is in `accept`."""
        try:
            output, problem = self.process.communicate(self.data, timeout)
        except subprocess.TimeoutExpired:
            raise self._too_slow(timeout) from None
        except BaseException:
            self.kill()
            raise
        code = self.process.returncode
        if code not in accept:
            raise failed(self.arguments[0], code, problem or b"")
        return code, output or b""

    def read(self, limit: int, *, timeout: float = TIMEOUT_S) -> tuple[bytes, bool]:
        """Output up to the end of the last line within `limit` bytes, and whether there is more; then git is
        stopped. GitFailed as from `result`."""
        output, problem = self.process.stdout, self.process.stderr
        assert output is not None
        assert problem is not None
        text, said = bytearray(), bytearray()
        until = time.monotonic() + timeout
        try:
            with selectors.DefaultSelector() as open_yet:
                open_yet.register(output, selectors.EVENT_READ, text)
                open_yet.register(problem, selectors.EVENT_READ, said)
                while open_yet.get_map() and len(text) <= limit:
                    ready = open_yet.select(max(0.0, until - time.monotonic()))
                    if not ready:
                        raise self._too_slow(timeout)
                    for key, _ in ready:
                        piece = os.read(key.fd, _PIECE)
                        key.data.extend(piece)
                        if not piece:
                            open_yet.unregister(key.fileobj)
                    del said[:-_SAID]
        except BaseException:
            self.kill()
            raise
        if len(text) > limit:
            self.kill()
            return bytes(text[: text.rfind(b"\n", 0, limit) + 1]), True
        if code := self._end():
            raise failed(self.arguments[0], code, bytes(said))
        return bytes(text), False

    def _too_slow(self, timeout: float) -> GitFailed:
        begun = _begun_objects(self.process.pid)
        # Killed it would leave its locks, and nobody but git knows which are its own.
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_S)
        self.kill()
        for file in begun:
            with contextlib.suppress(OSError):
                file.unlink()
        return GitFailed(
            f"git {self.arguments[0]} took longer than {timeout:g} s and was stopped.",
            code="git_timeout",
        )


def _begun_objects(session_id: int) -> list[Path]:
    """Packs and objects that processes of the session have open under a name for the time being.

    git removes them at no signal, and to everybody else they look like those of a git that is still at work.
    """
    try:
        files = [file for pid in proc.of_session(session_id) for file in proc.open_files(pid)]
    except OSError:
        # It is to end all the same.
        return []
    return [
        each
        for each in files
        if each.name.startswith("tmp_") and "objects" in (each.parent.name, each.parent.parent.name)
    ]


def failed(verb: str, code: int, output: bytes) -> GitFailed:
    detail = output[-_SAID:].decode(errors="replace").strip()
    if "dubious ownership" in detail:
        return GitFailed(
            "The repository belongs to another user of the machine, and this git refuses to read it."
            " Give the directory to the server's user, or install git 2.39 or later.",
            code="dubious_ownership",
            detail=detail,
        )
    ended = f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
    last = next((line for line in reversed(detail.splitlines()) if line.strip()), ended)
    return GitFailed(
        f"git {verb} failed: {last.removeprefix('fatal: ')}", detail=detail, exit_code=code
    )


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    data: bytes | None = None,
    timeout: float = TIMEOUT_S,
    accept: Sequence[int] = (0,),
    marker: str | None = None,
) -> bytes:
    call = Call(arguments, cwd=cwd, env=env, data=data, marker=marker)
    return call.result(timeout=timeout, accept=accept)[1]


def split_nul(output: bytes) -> list[str]:
    """Names as people may see them: bytes that aren't UTF-8 become U+FFFD."""
    return output.decode(errors="replace").split("\0")[:-1]
