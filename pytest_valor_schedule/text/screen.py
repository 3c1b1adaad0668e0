"""Show whoever waits for a job its output as it is printed, and lines of ours."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from pytest_valor_schedule.process.pseudo_terminal import Size


def terminal_size() -> Size | None:
    """Return columns and lines of the terminal that this process prints to; None if it is none."""
    try:
        return (size := os.get_terminal_size(sys.stdout.fileno())).columns, size.lines
    except (OSError, ValueError, AttributeError):  # a pipe, or nothing that has a descriptor
        return None


class Screen:
    """Write bytes of the job, and lines of ours, of which the last one may change.

    Args:
        stream: Of text.
        columns: How wide the terminal is; None if it is none, and no line can be rewritten.
    """

    def __init__(self, stream: TextIO, columns: int | None) -> None:
        self._stream = stream
        self._columns = columns
        self._shown = 0  # characters of the line that changes

    @property
    def is_terminal(self) -> bool:
        """Return whether a line can be rewritten."""
        return self._columns is not None

    def resize(self, columns: int) -> None:
        """Keep lines that change within a window that is as wide as this by now."""
        self._columns = columns

    def show(self, piece: bytes) -> None:
        """Show what the job has printed."""
        if piece:
            self.clear()
            self._write(piece)

    def print(self, line: str) -> None:
        """Show a line that stays."""
        self.clear()
        self._write(f"{line}\n".encode(errors="backslashreplace"))

    def rewrite(self, line: str) -> None:
        """Show a line in the place of the one before, shortened where it does not fit."""
        width = (self._columns or 1) - 1  # a character in the last column may wrap
        text = shorten(line, width)
        blanked = text.ljust(min(self._shown, width))
        self._shown = len(text)
        self._write(f"\r{blanked}".encode(errors="backslashreplace"))

    def clear(self) -> None:
        """Take the line away that changes."""
        if self._shown:
            self._write(b"\r" + b" " * self._shown + b"\r")
            self._shown = 0

    def _write(self, piece: bytes) -> None:
        try:
            self._stream.flush()
            if (raw := getattr(self._stream, "buffer", None)) is not None:
                raw.write(piece)  # as it was printed, whatever the encoding is
            else:
                self._stream.write(piece.decode(errors="replace"))
            self._stream.flush()
        except BrokenPipeError:  # nobody looks any more; the job goes on, and its exit code counts
            return


def shorten(text: str, width: int) -> str:
    """Return a line of at most so many characters, which ends where a part or a word of it does."""
    if len(text) <= width:
        return text
    room = text[: max(0, width - len("...")) + 1]  # what comes after the end may be a mark
    part = max(room.rfind(mark) for mark in ",:;")
    end = part if part >= len(room) * 2 // 3 else room.rfind(" ")
    return (text[:end].rstrip(" ,:;") + "...")[:width] if end > 0 else text[:width]
