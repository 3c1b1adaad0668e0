"""A pseudo-terminal for a job's pytest, whose output goes to the job's log as it is printed.

A pytest that somebody waits for at a terminal is to look as if it ran there: colours, width,
progress bars. The runner holds the terminal; the one who waits reads the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

from pytest_valor_schedule import files, log

_PIECE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 2.0
_WINDOW = "window"
"""Name of the file in a job's folder with the size of the terminal of who waits."""

Size = tuple[int, int]
"""Columns and lines."""


class PseudoTerminal:
    """One for each round of a job; the process that runs in it must not have it as its own.

    Args:
        size: Of the terminal of who waits.

    Raises:
        OSError: if the system gives none.
    """

    def __init__(self, size: Size) -> None:
        self._ours, self.theirs = os.openpty()
        self._size: Size | None = None
        self._pump: threading.Thread | None = None
        self._is_over = threading.Event()
        _print_plainly(self.theirs)
        self.resize(size)

    def resize(self, size: Size) -> None:
        """Make it as large as the window of who waits is by now."""
        if size != self._size:
            self._size = size
            columns, lines = size
            with contextlib.suppress(OSError, struct.error):
                packed = struct.pack("HHHH", lines, columns, 0, 0)
                fcntl.ioctl(self._ours, termios.TIOCSWINSZ, packed)

    def copy_to(self, output: Path) -> None:
        """Append what is printed to a file from now on; who prints has been started.

        It is done by a thread: whatever the caller waits for must not keep a job from printing.
        """
        os.close(self.theirs)
        self._pump = threading.Thread(
            target=self._copy, args=(output,), daemon=True, name="valor-schedule-terminal"
        )
        self._pump.start()

    def close(self) -> None:
        """Copy the rest; nobody prints any more."""
        self._is_over.set()
        if self._pump is not None:
            self._pump.join(_PATIENCE_SECONDS)
        os.close(self._ours)

    def _copy(self, output: Path) -> None:
        with contextlib.suppress(OSError):  # every process that had it open has ended
            while ready := self._wait():
                for handle in ready:
                    piece = os.read(handle, _PIECE_BYTES)
                    with contextlib.suppress(OSError):  # what a full disk does not take is lost
                        log.append(output, piece)

    def _wait(self) -> list[int]:
        """Return the terminal when there is something to read, and nothing once all is over."""
        while True:
            is_over = self._is_over.is_set()  # before the look, so that nothing is left behind
            ready, _, _ = select.select([self._ours], [], [], 0 if is_over else _LOOK_SECONDS)
            if ready or is_over:
                return ready


def open_terminal(size: Sequence[int] | None) -> PseudoTerminal | None:
    """Return one where somebody waits at a terminal of that size, and the system has one left."""
    if size is None:
        return None
    with contextlib.suppress(OSError):
        return PseudoTerminal((size[0], size[1]))
    return None


def _print_plainly(handle: int) -> None:
    """Have the terminal pass on what is printed as it is, and echo nothing."""
    mode = termios.tcgetattr(handle)
    mode[1] &= ~termios.OPOST
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(handle, termios.TCSANOW, mode)


def say_window(folder: Path, size: Size) -> None:
    """Tell the runner of a job how large the terminal of who waits is."""
    with contextlib.suppress(OSError):  # the job has no folder yet, or no room
        handle = files.opener(folder / _WINDOW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(handle, b"%d %d\n" % size)
        finally:
            os.close(handle)


def window(folder: Path) -> Size | None:
    """Return what `say_window` last said; None if nothing."""
    try:
        columns, lines = map(int, files.read(folder / _WINDOW).split())
    except (OSError, ValueError):  # it is just being written, or was never
        return None
    return columns, lines
