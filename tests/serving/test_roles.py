"""Single processes in the foreground, as containers run them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.server import ROOT, Server, free_port, until
from tests.serving.conftest import Serve

pytestmark = pytest.mark.process


@contextlib.contextmanager
def running(server: Server, role: str) -> Iterator[Path]:
    """One more process on the server's database and Redis; must end on SIGTERM without complaint."""
    output = server.folder / f"{role}.log"
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "serve", "--role", role],
            cwd=ROOT,
            env=server.environment,
            stdout=file,
            stderr=file,
        )
    try:
        title = f"kanban-agents: {role}"
        command = Path(f"/proc/{process.pid}/cmdline")
        # As long as a whole server may take: it imports as much, beside one that is at work.
        try:
            until(lambda: command.read_text().startswith(title), timeout=40, what=role)
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {command.read_text()!r}\n{output.read_text()}"
            ) from None
        yield output
        assert process.poll() is None, output.read_text()
        process.terminate()
        assert process.wait(10) in (0, -15), output.read_text()
        assert "Traceback" not in output.read_text()
    finally:
        process.kill()
        process.wait()


def test_each_role_runs_alone_and_stops_on_sigterm(server: Server) -> None:
    server.start()
    with running(server, "worker") as output:
        until(lambda: "is up" in output.read_text(), what="the loop")
    with running(server, "beat"):
        pass
    server.environment["KANBAN_PORT"] = str(free_port())
    server.port = int(server.environment["KANBAN_PORT"])
    with running(server, "web"):
        server.wait_healthy(timeout=5)


def test_a_role_waits_for_the_migrations_and_then_says_what_to_do(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    done = serve("--role", "web", "--patience", "0")
    assert done.returncode == 1
    assert "manage.py migrate" in done.stderr
    assert done.stderr.count("\n") == 1
