"""What a worker had printed when it died, and pytest in it could not report any more (Linux).

pytest captures into files that have no name. While the worker lives, its controller can open them
through /proc; they are then there for as long as the controller holds them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

_MOST_BYTES = 8 * 1024
_NAMES = ("Captured stdout", "Captured stderr")  # in this order pytest opens them


class Captured:
    """The capture files of one worker."""

    def __init__(self, pid: int) -> None:
        self._files: list[IO[bytes]] = []
        self._inodes: set[int] = set()
        with contextlib.suppress(OSError):
            for handle in sorted(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()):
                self._open(Path(f"/proc/{pid}/fd/{handle}"))

    def _open(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            if path.readlink().name.endswith(" (deleted)") and len(self._files) < len(_NAMES):
                inode = path.stat().st_ino
                if inode not in self._inodes and path.is_file():
                    self._inodes.add(inode)
                    self._files.append(path.open("rb"))

    def sections(self) -> list[list[str]]:
        """Return a name and the last part of a text for each file that has something."""
        texts = zip(_NAMES, map(_tail, self._files), strict=False)
        return [[name, text] for name, text in texts if text]

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()


def _tail(file: IO[bytes]) -> str:
    try:
        size = os.fstat(file.fileno()).st_size
        content = os.pread(file.fileno(), _MOST_BYTES, max(0, size - _MOST_BYTES))
    except OSError:
        return ""
    return content.decode(errors="replace")
