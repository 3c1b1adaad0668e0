"""Give a job's pytest a pseudo-terminal, and copy what it prints to the job's log.

A pytest that somebody waits for at a terminal is to look as if it ran there: colours, width,
progress bars. The runner holds the terminal; the one who waits reads the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Sequence
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule.process.pump import OutputPump

_WINDOW = "window"
"""Name of the file in a job's folder with the size of the terminal of who waits."""

Size = tuple[int, int]
"""Columns and lines."""


class PseudoTerminal(OutputPump):
    """A pump that looks like a terminal; the process that runs in it must not have it as its own.

    Args:
        size: Of the terminal of who waits.

    Raises:
        OSError: if the system gives none.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self._size: Size | None = None
        _print_plainly(self.theirs)
        self.resize(size)

    def _open(self) -> tuple[int, int]:
        return os.openpty()

    def resize(self, size: Size) -> None:
        """Make it as large as the window of who waits is by now."""
        if size != self._size:
            self._size = size
            columns, lines = size
            with contextlib.suppress(OSError, struct.error):
                window_size = struct.pack("HHHH", lines, columns, 0, 0)
                fcntl.ioctl(self._ours, termios.TIOCSWINSZ, window_size)


def open_pump(size: Sequence[int] | None) -> OutputPump:
    """Return a terminal where somebody waits at one of that size, and the system has one left."""
    if size is not None:
        with contextlib.suppress(OSError):
            return PseudoTerminal((size[0], size[1]))
    return OutputPump()


def _print_plainly(handle: int) -> None:
    """Have the terminal pass on what is printed as it is, and echo nothing."""
    mode = termios.tcgetattr(handle)
    mode[1] &= ~termios.OPOST
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(handle, termios.TCSANOW, mode)


def write_window(folder: Path, size: Size) -> None:
    """Tell the runner of a job how large the terminal of who waits is."""
    with contextlib.suppress(OSError):  # the job has no folder yet, or no room
        handle = files.opener(folder / _WINDOW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(handle, b"%d %d\n" % size)
        finally:
            os.close(handle)


def read_window(folder: Path) -> Size | None:
    """Return what `write_window` last wrote; None if nothing."""
    try:
        columns, lines = map(int, files.read(folder / _WINDOW).split())
    except (OSError, ValueError):  # it is just being written, or was never
        return None
    return columns, lines
