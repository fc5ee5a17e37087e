from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.host import disk, filesystems
from apps.host.processes import INSTALL_DIR


def test_all_who_ask_first_get_the_same_host_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: disk.host_id(tmp_path / "data"), range(16)))
    assert len(found) == 1
    only = found.pop()
    assert only.isalnum()
    assert (tmp_path / "data" / "host_id").read_text() == f"{only}\n"
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["host_id"]


def test_an_empty_host_id_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "host_id").touch()
    assert disk.host_id(tmp_path) == disk.host_id(tmp_path) != ""


def test_a_lock_is_held_once_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = disk.try_flock(path)
    assert first is not None
    assert disk.try_flock(path) is None
    # A program that is started meanwhile doesn't inherit it.
    sleeper = subprocess.Popen(["sleep", "30"], close_fds=False)
    first.release()
    first.release()
    second = disk.try_flock(path)
    assert second is not None
    second.release()
    sleeper.kill()
    sleeper.wait()
    code = (
        "import os, pathlib; from apps.host.disk import try_flock\n"
        f"assert try_flock(pathlib.Path({str(path)!r})); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=INSTALL_DIR, check=False)
    assert done.returncode == -9
    third = disk.try_flock(path)
    assert third is not None
    with pytest.raises(TimeoutError), disk.flock(path, timeout=0.05):
        pass
    third.release()


def test_free_space_is_told_for_a_place_that_does_not_exist_yet(tmp_path: Path) -> None:
    here = os.statvfs(tmp_path)
    found = disk.free_bytes(tmp_path / "not" / "yet")
    assert abs(found - here.f_bavail * here.f_frsize) < 1 << 30


def test_file_systems_that_machines_share_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk.is_network_filesystem(tmp_path) is False
    mounts = [("/", "ext4"), (str(tmp_path), "nfs4")]
    monkeypatch.setattr(filesystems, "_mounts", lambda: mounts)
    assert disk.is_network_filesystem(tmp_path / "deep") is True
    assert disk.is_network_filesystem(tmp_path.parent) is False
    monkeypatch.setattr(filesystems, "_mounts", list)
    assert disk.is_network_filesystem(tmp_path) is None
