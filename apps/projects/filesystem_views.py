from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.common.errors import DomainError, Forbidden, Invalid, NotFound
from apps.host import browsing
from apps.host.errors import PathRefused
from apps.projects.looking import View


class BrowseView(APIView):
    tokens = Tokens.NONE

    def get(self, request: Request) -> Response:
        view = View(caller(request))
        path = request.query_params.get("path") or str(view.first())
        with _told(path, view):
            found = browsing.list_directory(path, view.allows, hidden=_hidden(request))
        parent = found.path.parent
        return Response(
            {
                "path": str(found.path),
                "parent": str(parent) if parent != found.path and view.allows(parent) else None,
                "entries": [_entry(found, each) for each in found.entries],
                "truncated": found.truncated,
            }
        )


class ReadView(APIView):
    tokens = Tokens.NONE

    def get(self, request: Request) -> Response:
        view = View(caller(request))
        path = request.query_params.get("path")
        if not path:
            raise Invalid("path: say which file to read, by its absolute path.")
        with _told(path, view):
            found = browsing.read_text(path, view.allows)
        if found.text is None:
            raise NotText(f"{path} is not a text in UTF-8, so it can't be shown.")
        return Response(
            {
                "path": str(found.path),
                "content": found.text,
                "size": found.size,
                "truncated": found.truncated,
            }
        )


class NotText(DomainError):
    status = 415
    code = "not_text"


def _hidden(request: Request) -> bool:
    given = request.query_params.get("hidden", "")
    if given not in ("", "true", "1", "false", "0"):
        raise Invalid("hidden: must be true or false")
    return given in ("true", "1")


def _entry(listing: browsing.Listing, entry: browsing.Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(listing.path / entry.name),
        "type": "directory" if entry.is_directory else "file",
        "isGitRepo": entry.is_git,
    }


@contextmanager
def _told(path: str, view: View) -> Iterator[None]:
    """What is wrong with a path, said to whoever named it."""
    if not path.startswith("/"):
        raise Invalid(
            f"path: {path!r} is not an absolute path. Give the whole path, starting with /.",
            code="path_relative",
        )
    try:
        yield
    except PathRefused as problem:
        if problem.code == "path_outside":
            view.refuse_moved(path)
            raise Forbidden(
                f"{path} is outside of the directories that you may see: those of your projects, and those"
                " that an administrator opens with KANBAN_FS_ROOTS.",
                code=problem.code,
            ) from None
        raise Invalid(f"path: {problem.message}", code=problem.code) from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path} does not exist.", code="path_missing") from None
    except PermissionError:
        raise Forbidden(
            f"{path} can't be read by the server's user. Change its permissions.",
            code="path_unreadable",
        ) from None
    except OSError as problem:
        raise Invalid(f"path: {path} can't be read: {problem.strerror or problem}.") from None
