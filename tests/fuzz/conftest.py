from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from tests.contract.conftest import world
from tests.fuzz.cases import EXAMPLES

__all__ = ["world"]

# Only `make fuzz` takes the time.
collect_ignore = [] if EXAMPLES else ["test_running_server.py"]

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="module")
def _nowhere_else(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home and roots that nobody misses, and no way to any other machine."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    patch.setattr(django_settings, "FS_ROOTS", [Path(home)])
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise OSError(f"no way to {address}")
        connect(self, address)

    def known(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if not name.startswith(LOOPBACK):
            raise socket.gaierror(socket.EAI_NONAME, f"nobody is called {name}")
        return look_up(host, *rest, **more)

    patch.setattr(socket.socket, "connect", only_here)
    patch.setattr(socket, "getaddrinfo", known)
    yield
    patch.undo()
