"""Read what a worker had printed when it died, which its pytest could not report (Linux).

pytest captures into files that have no name. While the worker lives, its controller can open them
through /proc; they are then there for as long as the controller holds them.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import IO

from pytest_valor_schedule._util import files
from pytest_valor_schedule.record.event_log import parse_line
from pytest_valor_schedule.record.output import without_controls

_MOST_BYTES = 8 * 1024
_MOST_REPORTS = 512 * 1024  # bytes of an event log from the start of a test on
_PRINTED = "Printed by the run meanwhile"  # by this worker, or by another
_WORDS = re.compile(r"[a-rt-wyz]")  # more than the dots and letters of pytest's progress
_HEADER = re.compile(
    r"\A.*^(?:collected \d+ items?|\d+ workers? \[\d+ items?\])[^\n]*$", re.DOTALL | re.MULTILINE
)
"""What a run prints before its first test, and may reach the log later than that begins."""
_NAMES = ("Captured stdout", "Captured stderr")  # in this order pytest opens them


def printed_since_start(log: Path, output: Path) -> list[list[str]]:
    """Return a name and what a run has printed since the start of the last test in an event log.

    That is what the worker wrote past the capture of pytest, and whatever others did meanwhile.
    """
    start = _start_of_last_test(log)
    with contextlib.suppress(OSError):
        if start is not None and (size := output.stat().st_size - start) > 0:
            text = without_controls(files.tail(output, min(size, _MOST_BYTES)))
            text = _HEADER.sub("", text).strip()
            return [[_PRINTED, text]] if _WORDS.search(text) else []
    return []


def _start_of_last_test(path: Path) -> int | None:
    for line in reversed(files.tail(path, _MOST_REPORTS).splitlines()):
        event = parse_line(line.encode())
        if event is not None and event["kind"] == "start":
            return event.get("log")
    return None


class CrashOutput:
    """Holds the capture files of one worker open."""

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
