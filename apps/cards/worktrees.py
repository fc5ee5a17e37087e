"""A card's place on disk: the row says what should be there, `host` does it.

The row stands before the directory is made and until it is gone: `creating` found again means that somebody
died in between, so it is removed and made again; `removing` is carried out by the worker's loop.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from apps.cards import elsewhere, patches
from apps.cards.events import CardUpdated
from apps.cards.models import Card, Worktree
from apps.common.errors import DomainError
from apps.common.fetching import insert
from apps.common.ids import public_id
from apps.events import bus
from apps.events.writing import turn
from apps.host import changes, git, sweeping, worktrees
from apps.host.changes import Diff
from apps.host.disk import flock
from apps.host.errors import HostError
from apps.projects import places
from apps.projects.models import Project
from apps.projects.services import refresh_settings
from apps.projects.settings import FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where an agent works, and what a person should know of how it came to be."""

    path: Path
    notice: str | None = None


def in_place(project: Project) -> bool:
    """Whether agents of this project work in its own directory: no git, or worktrees switched off."""
    return not (project.is_git and project.worktree)


def home_of(card: Card) -> tuple[str, bool] | None:
    """The host that has the card's worktree, and whether that was given up.

    None where the card's next agent needs none or there is none yet.
    """
    if in_place(card.project):
        return None
    ready = Worktree.objects.filter(card_id=card.pk, state=Worktree.State.READY)
    return ready.values_list("host_id", "given_up").first()


def give_up(card_id: int, host_id: str) -> None:
    """The host has been silent for too long: without it, the card needn't wait for what is there."""
    Worktree.objects.filter(card_id=card_id, host_id=host_id).update(given_up=True)


def directory(card_id: int) -> Path:
    return Path(settings.DATA_DIR) / "worktrees" / public_id("card", card_id)


def prepare(
    card: Card, *, host_id: str, run: str, marker: str, given_up: Callable[[], bool]
) -> Place:
    """Make or find the card's worktree. Repeatable; raises HostError with a sentence.

    Disk work outside any transaction. A run that was taken over may still be at it: one per card at a time,
    over all processes of the host. `run` is the wire id; git carries the whole `marker`. Once `given_up`, git
    isn't started any more.
    """
    project = card.project
    repository = places.directory(project)
    if not repository.is_dir():
        raise HostError(
            f"The project's directory {repository} is not there any more.",
            code="project_path_missing",
        )
    by_now, put_off = _settings_by_now(project, run)
    # For the next start: this one was let through with what counted then. But with another setting by now,
    # nobody else is kept out of the project's own directory any more; in a worktree it is in nobody's way.
    if in_place(project) and in_place(by_now):
        return Place(repository, put_off)
    try:
        with _one_at_a_time(card.pk):
            place = _prepare_locked(
                card, repository, host_id=host_id, run=run, marker=marker, given_up=given_up
            )
            return Place(place.path, " ".join(filter(None, (put_off, place.notice))) or None)
    except OSError as problem:
        raise HostError(
            f"The card's worktree could not be made ({problem.strerror or problem}). Look at"
            f" {directory(card.pk)} and the disk it is on, then start again.",
            code="worktree_failed",
        ) from problem


def _settings_by_now(project: Project, run: str) -> tuple[Project, str | None]:
    """The project with what its repository says, or as it was and a sentence why that doesn't count yet."""
    try:
        return refresh_settings(project, run=run), None
    except DomainError as problem:
        logger.warning(
            "the settings of %s are left for a later start: %s",
            public_id("project", project.pk),
            problem,
        )
        return (
            project,
            f"What {FILE} says by now doesn't count yet: {problem} The next start tries again.",
        )


@contextlib.contextmanager
def _one_at_a_time(card_id: int, *, timeout: float = worktrees.LOCK_TIMEOUT_S) -> Iterator[None]:
    """HostError `worktree_busy` when another thread or process has the card's worktree in hand."""
    folder = Path(settings.DATA_DIR) / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(flock(folder / f"card-{card_id}", timeout=timeout))
        except TimeoutError as problem:
            raise HostError(
                "An earlier run of this card is still making its worktree. Try again later.",
                code="worktree_busy",
            ) from problem
        yield


def _prepare_locked(
    card: Card,
    repository: Path,
    *,
    host_id: str,
    run: str,
    marker: str,
    given_up: Callable[[], bool],
) -> Place:
    if given_up():
        raise _left()
    project = card.project
    row, info = Worktree.objects.filter(card_id=card.pk).first(), None
    if row is None:
        info = git.inspect(repository)
        # Stored with its branch, by `_record_branch`: every commit waits for the disk.
        row = _new_row(card, host_id, project.base_branch or info.head_branch, run)
    else:
        # Where it is used it is: its host may have gone, and its directory may be shared.
        mine = Worktree.objects.filter(pk=row.pk)
        _update(mine, session_wire_id=run, host_id=host_id, given_up=False)
    path = Path(row.path)
    if row.state == Worktree.State.READY and worktrees.valid(path, repository):
        worktrees.clear_stale_locks(path)
        return Place(path)
    lost = row.state == Worktree.State.READY
    ours = Worktree.objects.filter(card_id=card.pk).exclude(state=Worktree.State.REMOVING)
    if row.pk is not None and not _update(ours, state=Worktree.State.CREATING):
        raise _gone()
    if path.exists() or path.is_symlink():
        if row.branch is None:
            # Nothing of ours was begun here: whose it is, nobody knows.
            aside = worktrees.quarantine(path, Path(settings.DATA_DIR) / "quarantine")
            logger.warning("%s was there before its row; it is now %s", path, aside)
        else:
            _remove(row, force=True)

    def on_branch(name: str, start: str | None) -> None:
        if given_up():
            raise _left()
        _record_branch(row, name, start)

    base, slow = _start(row)
    known = {"branch": row.branch, "owns_branch": row.owns_branch, "base_commit": row.base_commit}
    try:
        made = worktrees.create(
            repository,
            path,
            branch=row.branch or _branch_name(card),
            base=base,
            owns_branch=row.owns_branch,
            data_dir=Path(settings.DATA_DIR),
            info=info,
            on_branch=on_branch,
            marker=marker,
        )
    except HostError:
        # git took its branch back, or the name is somebody else's; either way it isn't the card's.
        _update(ours.filter(state=Worktree.State.CREATING), **known)
        raise
    if not _made(row, made):
        _remove(row, force=True)
        raise _gone()
    return Place(path, _notice(made) if lost else slow)


def _record_branch(row: Worktree, name: str, start: str | None) -> None:
    """Before git makes it: whoever dies in between finds the branch again and knows it for the card's."""
    row.branch, row.owns_branch, row.base_commit = name, True, start or row.base_commit
    if row.pk is None:
        _insert(row)
        return
    ours = Worktree.objects.filter(pk=row.pk, state=Worktree.State.CREATING)
    if not _update(ours, branch=name, owns_branch=True, base_commit=row.base_commit):
        raise _gone()


def _update(rows: QuerySet[Worktree], **changes: Any) -> int:
    """How many there are. A statement by itself; whoever makes a worktree stands in line like the others."""
    with turn():
        return rows.update(**changes)


@bus.atomically
def _made(row: Worktree, made: worktrees.Worktree) -> bool:
    """Record what was made; False when the card was deleted meanwhile and the row is to go or gone."""
    bus.lock(row.project_id)
    recorded = Worktree.objects.filter(pk=row.pk, state=Worktree.State.CREATING).update(
        state=Worktree.State.READY,
        branch=made.branch,
        owns_branch=True,
        base_commit=made.base_commit or row.base_commit,
    )
    if recorded and Card.objects.filter(pk=row.card_id).exclude(branch=made.branch).update(
        branch=made.branch
    ):
        bus.publish(CardUpdated(project_id=row.project_id, card_id=row.card_id))
    return bool(recorded)


def _gone() -> HostError:
    return HostError("The card was deleted while its worktree was being made.", code="card_deleted")


def _left() -> HostError:
    return HostError("Nobody waits for the worktree any more.", code="given_up")


def _notice(made: worktrees.Worktree) -> str:
    return made.lost or (
        f"The card's worktree was missing and was made again from its branch {made.branch};"
        " changes that were not committed are lost."
    )


def _new_row(card: Card, host_id: str, base_ref: str | None, run: str) -> Worktree:
    return Worktree(
        card_id=card.pk,
        project_id=card.project_id,
        host_id=host_id,
        repository=card.project.path,
        path=str(directory(card.pk)),
        base_ref=base_ref,
        session_wire_id=run,
    )


@bus.atomically
def _insert(row: Worktree) -> None:
    """Deleting a card marks the rows it finds: under the stream's lock none can slip in behind it."""
    bus.lock(row.project_id)
    if not Card.objects.filter(pk=row.card_id).exists():
        raise _gone()
    insert(row)


def _start(row: Worktree) -> tuple[str | None, str | None]:
    """Where a first worktree starts: the base, or its upstream where that is ahead and answers.

    And a sentence where nobody could wait for that.
    """
    if row.owns_branch and row.state == Worktree.State.CREATING:
        return row.base_commit or row.base_ref, None
    if row.base_ref is None or row.owns_branch:
        return row.base_ref or row.base_commit, None
    try:
        return git.fetch_base(Path(row.repository), row.base_ref) or row.base_ref, None
    except HostError as problem:
        if problem.code != "git_timeout":
            raise
        logger.warning("the base of card %s is not fetched: %s", row.card_id, problem)
        return row.base_ref, (
            f"The work starts from {row.base_ref} as it is on this server, which may be behind its remote:"
            f" {problem} Run git fetch in {row.repository}, and later cards have less to wait for."
        )


def _branch_name(card: Card) -> str:
    template = card.project.branch_template or "card/{cardId}"
    return template.replace("{cardId}", public_id("card", card.pk))


def card_diff(card: Card) -> Diff | None:
    """Changes against the merge base, uncommitted and new files included; None without a worktree.

    Raises HostError as git does, and Unavailable when the host that has the worktree doesn't answer.
    """
    found = _look_or_ask("diff", card.pk)
    return None if found is None else Diff(**found)


def deletion_obstacle(card: Card) -> tuple[str, str] | None:
    """Work in the worktree that deleting the card would put aside: (code, sentence), or None."""
    lost = _look_or_ask("unsaved", card.pk)
    return None if lost is None else ("worktree_dirty", lost)


def _look_or_ask(what: str, card_id: int) -> Any:
    row = Worktree.objects.filter(card_id=card_id, state=Worktree.State.READY).first()
    if row is None:
        return None
    if not elsewhere.is_elsewhere(row):
        return _look(what, row)
    answer = elsewhere.ask(row, what)
    if "error" in answer:
        raise HostError(answer["error"], code=answer["code"])
    return answer["found"]


def look(what: str, card_id: int) -> dict[str, Any]:
    """For another host: `found`, or `error` and `code`."""
    row = Worktree.objects.filter(card_id=card_id, state=Worktree.State.READY).first()
    try:
        return {"found": None if row is None else _look(what, row)}
    except HostError as error:
        return {"error": str(error), "code": error.code}
    except OSError as error:
        return {"error": f"The worktree can't be read: {error}.", "code": "worktree_unreadable"}


def _look(what: str, row: Worktree) -> Any:
    path = Path(row.path)
    if not path.is_dir():
        return None
    if what == "diff":
        return None if row.base_commit is None else asdict(changes.diff(path, row.base_commit))
    return worktrees.unsaved_work(Path(row.repository), path, row.base_ref or row.base_commit)


def remove_due(host_id: str) -> None:
    """Remove the worktrees of this host that are to go; called every two seconds, repeatable.

    The processes of the card's last run go first: nobody may write into a directory that is being removed.
    """
    for row in Worktree.objects.filter(host_id=host_id, state=Worktree.State.REMOVING):
        if row.session_wire_id and sweeping.sweep_run(host_id, row.session_wire_id):
            continue
        try:
            with _one_at_a_time(row.card_id, timeout=0):
                removal = _remove(row, force=row.forced)
                with turn():
                    row.delete()
            if removal.quarantined is not None:
                logger.info("worktree of card %s is kept: %s", row.card_id, removal.quarantined)
            _said.pop(row.card_id, None)
        except (HostError, OSError) as error:
            _say_if_new(row.card_id, str(error))


# Why a card's worktree stays, as it was logged last: it is tried every two seconds.
_said: dict[int, str] = {}


def _say_if_new(card_id: int, why: str) -> None:
    if _said.get(card_id) != why:
        _said[card_id] = why
        logger.warning("worktree of card %s stays: %s", card_id, why)


def _remove(row: Worktree, *, force: bool) -> worktrees.Removal:
    since = row.removing_since
    return worktrees.remove(
        Path(row.repository),
        Path(row.path),
        base=row.base_ref or row.base_commit,
        force=force,
        patch_dir=patches.directory(),
        patch_name=None if since is None else patches.name(row.card_id, since),
        data_dir=Path(settings.DATA_DIR),
    )
