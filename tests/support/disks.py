"""A disk that is soon full, or can only be read."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def umount(folder: Path) -> None:
    """Wait until nobody uses what is mounted on a folder, and take it away."""
    command = ["umount", "--quiet", str(folder)]
    wait_until(
        lambda: subprocess.run(command, capture_output=True).returncode == 0,
        f"nobody uses {folder}",
    )


@contextlib.contextmanager
def read_only(folder: Path, at: Path | None = None) -> Iterator[None]:
    """Have a folder be one that can only be read, there or at another place."""
    point = at or folder
    if subprocess.run(["mount", "--bind", str(folder), str(point)]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(point)], check=True)
        yield
    finally:
        umount(point)


def fill(disk: Path) -> None:
    """Leave no byte on a disk."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    assert os.statvfs(disk).f_bavail == 0


def leave(disk: Path, size: int) -> None:
    """Leave so many bytes on a disk that was filled."""
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - size)


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()


def open_files(folder: Path) -> list[str]:
    """Return what this process has open in a folder (Linux)."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(f"{folder}/")]
