"""Write the logs of background processes; bound what a job's pytest prints, and read it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule.errors import ScheduleError

OUTPUT = "output.log"
"""Name of the file in a job's folder with what its pytest prints."""


def warning(text: str) -> None:
    """Write a line to the log that is this background process's standard error.

    That the disk is full does not end what serves the queue.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def fault_text(error: Exception) -> str:
    """Return an error as a log has it: one made for users as it is, a fault of ours in full."""
    if isinstance(error, ScheduleError):
        return str(error)
    import traceback  # here, because faults are few

    return "".join(traceback.format_exception(error)).rstrip()


def append(path: Path, piece: bytes) -> None:
    """Append to a log.

    Raises:
        OSError: if it cannot be opened, or the disk is full.
    """
    with os.fdopen(files.open_to_append(path), "ab", buffering=0) as file:
        file.write(piece)


def bound_log(path: Path, most_bytes: float | None) -> None:
    """Cut out the middle of a log that has outgrown its limit, if it has one: head and tail stay.

    The writers append to it all the while; what they print in that instant may be lost.
    """
    if most_bytes is not None:
        with contextlib.suppress(OSError):  # it is not there, or the disk is full
            if path.stat().st_size > most_bytes:
                _cut(path, int(most_bytes // 4))


def _cut(path: Path, part: int) -> None:
    size = path.stat().st_size
    with open(path, "r+b", opener=files.opener) as file:
        file.seek(size - part)
        tail = file.read(part)
        file.truncate(part)
    notice = f"\n[... {size - 2 * part} bytes of output cut out ...]\n".encode()
    append(path, notice + tail)


class Tail:
    """Reads what a job's log, which may not be there yet, has gained."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, until: int | None = None) -> bytes:
        """Return what is new, up to an offset if there is one.

        Of a log that was cut it is only what comes after the cut.
        """
        try:
            with open(self._path, "rb", opener=files.opener) as file:
                size = os.fstat(file.fileno()).st_size
                self._offset = min(self._offset, size)  # of what was cut nearly all has been read
                file.seek(self._offset)
                piece = file.read(-1 if until is None else max(0, until - self._offset))
        except OSError:  # it is not there yet
            return b""
        self._offset += len(piece)
        return piece
