"""Copy what a job's pytest prints to the job's log.

It goes through the runner, so that nothing about the log, such as a full disk, is an error of what
prints: output is what may be lost first.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pytest_valor_schedule._util import log

_PIECE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 2.0


class OutputPump:
    """A pipe for each round of a job, and who empties it into a file.

    Raises:
        OSError: if the system gives none.

    Attributes:
        theirs: The descriptor that the process gets which prints.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = self._open()
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._copying = threading.Lock()

    def _open(self) -> tuple[int, int]:
        """Return the descriptors to read and to write."""
        return os.pipe()

    def resize(self, size: tuple[int, int]) -> None:
        """Make it as large as the window of who waits is by now; a pipe has no size."""

    def copy_to(self, output: Path, is_full: Callable[[], bool]) -> None:
        """Append what is printed to a file from now on, once; who prints has been started.

        It is done by a thread: whatever the caller waits for must not keep a job from printing.

        Args:
            output: The file.
            is_full: Whether the room on the disk is to be left to the results.
        """
        if self._thread is not None:  # as for a session, whose output has been copied for a while
            return
        os.close(self.theirs)
        with contextlib.suppress(OSError):
            log.append(output, b"")  # it is there, however little is printed
        self._thread = threading.Thread(
            target=self._copy, args=(output, is_full), daemon=True, name="valor-schedule-output"
        )
        self._thread.start()

    def settle(self) -> None:
        """Return when all that has been printed is in the file; who prints does nothing else."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with self._copying:
                if not select.select([self._ours], [], [], 0)[0]:
                    return
            time.sleep(0.001)

    def close(self) -> None:
        """Copy the rest; nobody prints any more."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)
        os.close(self._ours)

    def _copy(self, output: Path, is_full: Callable[[], bool]) -> None:
        lost_bytes = 0
        with contextlib.suppress(OSError):  # every process that had the terminal open has ended
            while self._wait():
                with self._copying:
                    piece = os.read(self._ours, _PIECE_BYTES)
                    is_kept = not is_full() and _append(output, _notice(lost_bytes) + piece)
                    lost_bytes = 0 if is_kept else lost_bytes + len(piece)
                if not piece:
                    return

    def _wait(self) -> bool:
        """Return whether there is something to read; if not, all is over."""
        while True:
            is_over = self._is_over.is_set()  # before the look, so that nothing is left behind
            ready, _, _ = select.select([self._ours], [], [], 0 if is_over else _LOOK_SECONDS)
            if ready or is_over:
                return bool(ready)


def _notice(lost_bytes: int) -> bytes:
    text = f"\n[... {lost_bytes} bytes of output lost: the disk was full ...]\n"
    return text.encode() if lost_bytes else b""


def _append(output: Path, piece: bytes) -> bool:
    with contextlib.suppress(OSError):
        log.append(output, piece)
        return True
    return False
