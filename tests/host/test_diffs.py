from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.host import changes
from apps.host.changes import Diff
from apps.host.errors import GitFailed
from apps.host.worktrees import Worktree

from .conftest import Repository, odd_names


def by_git_alone(repo: Repository, worktree: Path, base: str) -> tuple[str, str]:
    """Patch and short statistics as git itself gives them, once everything is really staged; in a copy
    of the worktree, so that the test changes nothing."""
    index = Path(repo.git("rev-parse", "--absolute-git-dir", cwd=worktree).strip(), "index")
    saved = index.read_bytes()
    try:
        repo.git("add", "-A", cwd=worktree)
        start = repo.git("merge-base", base, "HEAD", cwd=worktree).strip()
        patch = repo.git("diff", "--cached", "-M", start, cwd=worktree)
        stat = repo.git("diff", "--cached", "-M", "--shortstat", start, cwd=worktree)
    finally:
        index.write_bytes(saved)
    return patch, stat.strip()


def in_words(diff: Diff) -> str:
    def some(count: int, word: str) -> str:
        return f"{count} {word}" if count == 1 else f"{count} {word}s"

    if not diff.files_changed:
        return ""
    words = [f"{some(diff.files_changed, 'file')} changed"]
    if diff.insertions or not diff.deletions:
        words.append(f"{some(diff.insertions, 'insertion')}(+)")
    if diff.deletions or not diff.insertions:
        words.append(f"{some(diff.deletions, 'deletion')}(-)")
    return ", ".join(words)


def untracked(repo: Repository, at: Path) -> None:
    repo.write("new.txt", "one\ntwo\n", at=at)
    repo.write("deep/er/new.txt", "x\n", at=at)
    repo.write("empty.txt", "", at=at)
    repo.write(".gitignore", "ignored.txt\n", at=at)
    repo.write("ignored.txt", "no\n", at=at)


def modified(repo: Repository, at: Path) -> None:
    repo.write("lines.txt", "".join(f"{n}\n" for n in range(3, 120) if n % 17), at=at)


def renamed_by_hand(repo: Repository, at: Path) -> None:
    (at / "lines.txt").rename(at / "moved.txt")


def renamed_and_changed(repo: Repository, at: Path) -> None:
    repo.git("mv", "lines.txt", "moved.txt", cwd=at)
    with (at / "moved.txt").open("a") as file:
        file.write("more\n")


def deleted(repo: Repository, at: Path) -> None:
    (at / "lines.txt").unlink()
    repo.git("rm", "-q", "README.md", cwd=at)


def binary(repo: Repository, at: Path) -> None:
    repo.write("picture.bin", bytes(range(256)) * 3, at=at)
    repo.write("known.bin", b"\0changed", at=at)


def mode(repo: Repository, at: Path) -> None:
    (at / "lines.txt").chmod(0o755)
    repo.write("script.sh", "#!/bin/sh\n", at=at).chmod(0o755)


def staged(repo: Repository, at: Path) -> None:
    repo.write("staged.txt", "staged\n", at=at)
    repo.git("add", "staged.txt", cwd=at)
    repo.write("staged.txt", "and changed again\n", at=at)


def committed(repo: Repository, at: Path) -> None:
    repo.write("committed.txt", "1\n", at=at)
    repo.commit("work", at=at)
    repo.write("uncommitted.txt", "2\n", at=at)


def no_newline_at_the_end(repo: Repository, at: Path) -> None:
    repo.write("lines.txt", "only", at=at)
    repo.write("other.txt", "-- minus\n++ plus\n@@ -1 +1 @@\n \n\n", at=at)
    repo.write("README.md", "-- a\n++ b\ndiff --git a/x b/x\n", at=at)


def a_file_became_a_link(repo: Repository, at: Path) -> None:
    (at / "lines.txt").unlink()
    (at / "lines.txt").symlink_to("README.md")


def a_file_became_a_directory(repo: Repository, at: Path) -> None:
    (at / "lines.txt").unlink()
    repo.write("lines.txt/inner", "x\n", at=at)


def a_link_out_of_the_tree(repo: Repository, at: Path) -> None:
    (at / "passwd").symlink_to("/etc/passwd")
    (at / "etc").symlink_to("/etc")


def a_repository_inside(repo: Repository, at: Path) -> None:
    Repository(at / "inner")
    repo.write("beside.txt", "x\n", at=at)


def nothing(repo: Repository, at: Path) -> None:
    pass


CHANGES: list[Callable[[Repository, Path], None]] = [
    *(untracked, modified, renamed_by_hand, renamed_and_changed, deleted, binary, mode, odd_names),
    *(staged, committed, no_newline_at_the_end, a_file_became_a_link, a_file_became_a_directory),
    *(a_link_out_of_the_tree, a_repository_inside, nothing),
]


@pytest.fixture
def base(repo: Repository) -> str:
    repo.write("lines.txt", "".join(f"{n}\n\n" for n in range(60)))
    repo.write("known.bin", b"\0\1\2")
    repo.commit("more to change")
    return repo.git("rev-parse", "HEAD").strip()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_diff_is_what_git_shows_once_everything_is_staged(
    base: str, worktree: Worktree, repo: Repository, change: Callable[[Repository, Path], None]
) -> None:
    change(repo, worktree.path)
    own = Path(repo.git("rev-parse", "--absolute-git-dir", cwd=worktree.path).strip())
    before = (own / "index").read_bytes()
    found = changes.diff(worktree.path, base)
    assert (own / "index").read_bytes() == before
    patch, stat = by_git_alone(repo, worktree.path, base)
    assert found.text == patch
    assert in_words(found) == stat
    assert not found.truncated


def test_a_diff_looks_the_same_whatever_the_repository_sets(
    base: str, worktree: Worktree, repo: Repository
) -> None:
    modified(repo, worktree.path)
    (worktree.path / "README.md").unlink()
    plain = changes.diff(worktree.path, base)
    for key, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.renames": "false",
        "diff.context": "9",
        "color.ui": "always",
        "diff.suppressBlankEmpty": "true",
        "diff.orderFile": "/nonexistent",
        "diff.algorithm": "histogram",
    }.items():
        repo.git("config", key, value)
    assert changes.diff(worktree.path, base) == plain


def test_a_diff_is_against_the_merge_base(base: str, worktree: Worktree, repo: Repository) -> None:
    repo.write("main-only.txt", "x\n")
    later = repo.commit("main goes on")
    repo.write("mine.txt", "y\n", at=worktree.path)
    found = changes.diff(worktree.path, later)
    assert (found.files_changed, found.insertions, found.deletions) == (1, 1, 0)
    assert changes.diff(worktree.path, "main") == found
    with pytest.raises(GitFailed) as caught:
        changes.diff(worktree.path, "no-such-branch")
    assert caught.value.code == "base_missing"


def test_a_diff_with_an_unrelated_base_is_against_the_base_itself(
    worktree: Worktree, repo: Repository
) -> None:
    repo.git("checkout", "-q", "--orphan", "other")
    repo.write("README.md", "other\n")
    other = repo.commit("unrelated")
    found = changes.diff(worktree.path, other)
    assert (found.files_changed, found.insertions, found.deletions) == (1, 1, 1)


def test_a_long_diff_is_cut_at_a_line_and_its_numbers_mean_all(
    base: str, worktree: Worktree, repo: Repository
) -> None:
    for n in range(40):
        repo.write(f"big{n}.txt", "ä lot of text\n" * 1000, at=worktree.path)
    found = changes.diff(worktree.path, base, limit_bytes=100_000)
    assert found.truncated
    assert len(found.text.encode()) <= 100_000
    assert found.text.endswith("+ä lot of text\n")
    assert (found.files_changed, found.insertions, found.deletions) == (40, 40_000, 0)


def test_a_diff_survives_writers_at_work(base: str, worktree: Worktree, repo: Repository) -> None:
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            for n in range(20):
                repo.write(f"busy{n}.txt", f"{turn}\n" * (1 + turn % 50), at=worktree.path)
            repo.git("add", "-A", cwd=worktree.path, ok=False)
            for n in range(0, 20, 3):
                (worktree.path / f"busy{n}.txt").unlink(missing_ok=True)
            if turn % 5 == 0:
                repo.git("commit", "-qm", "turn", cwd=worktree.path, ok=False)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(40):
            assert changes.diff(worktree.path, base).files_changed <= 20
    finally:
        stop.set()
        thread.join()
    repo.git("add", "-A", cwd=worktree.path)
    assert repo.git("fsck", "--no-dangling", cwd=worktree.path) == ""


@pytest.fixture
def stumbling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Make git's next so many comparisons end as given, in place of a race that can't be staged."""

    def stumble(times: int, end: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / "left").write_text("x" * times)
        (folder / "git").write_text(
            f"""#!/bin/sh
            case " $* " in *" diff --patch "*)
                if [ -s {folder}/left ]; then
                    truncate -s -1 {folder}/left
                    {end}
                fi
            esac
            exec {shutil.which("git")} "$@"
            """
        )
        (folder / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return stumble


@pytest.mark.parametrize(
    "end",
    [
        "echo \"fatal: stat 'new.txt': No such file or directory\" >&2; exit 128",
        "echo 'fatal: unable to read files to diff' >&2; exit 128",
        "kill -BUS $$",
    ],
)
def test_a_diff_goes_on_when_files_keep_going_away_under_it(
    base: str, worktree: Worktree, repo: Repository, stumbling: Callable[[int, str], None], end: str
) -> None:
    repo.write("new.txt", "new\n", at=worktree.path)
    plain = changes.diff(worktree.path, base)
    stumbling(12, end)
    assert changes.diff(worktree.path, base) == plain


def test_a_diff_that_cannot_be_made_says_what_git_said(
    base: str, worktree: Worktree, repo: Repository, stumbling: Callable[[int, str], None]
) -> None:
    repo.write("lines.txt", "changed\n", at=worktree.path)
    blob = repo.git("rev-parse", f"{base}:lines.txt").strip()
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(GitFailed, match=f"git diff failed: unable to read {blob}"):
        changes.diff(worktree.path, base)
    stumbling(9, "kill -KILL $$")
    with pytest.raises(GitFailed, match="git diff failed: ended by SIGKILL"):
        changes.diff(worktree.path, base)


def test_a_git_that_says_a_lot_does_not_hold_up_a_diff(
    base: str, worktree: Worktree, stumbling: Callable[[int, str], None]
) -> None:
    stumbling(9, "yes a warning | head -c 300000 >&2; echo fatal: the last word >&2; exit 128")
    with pytest.raises(GitFailed, match="git diff failed: the last word"):
        changes.diff(worktree.path, base)


def test_a_diff_never_leads_out_of_the_worktree(
    base: str, worktree: Worktree, repo: Repository, tmp_path: Path
) -> None:
    secret = tmp_path / "elsewhere"
    Repository(secret)
    (secret / "secret.txt").write_text("secret\n")
    trap = Repository(tmp_path / "trap")
    trap.git("config", "core.worktree", str(secret))
    (worktree.path / ".git").write_text(f"gitdir: {trap.path / '.git'}\n")
    assert "secret" not in changes.diff(worktree.path, "HEAD").text
    (worktree.path / ".git").unlink()
    with pytest.raises(GitFailed) as caught:
        changes.diff(worktree.path, base)
    assert caught.value.code == "not_a_worktree"
