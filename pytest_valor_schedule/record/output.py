"""What a job's pytest has printed: read as it grows, and as plain text."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_valor_schedule._util import files

_CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # an operating system command, such as a title or a link
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # a control sequence, such as a colour
    r"|\x1b[ -/]*[0-~]"  # any other escape
)
"""Control sequences of a terminal, by ECMA-48."""


def without_controls(text: str) -> str:
    """Return what a terminal would show of a text: without colours, and lines as last rewritten."""
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


class Tail:
    """Reads what a job's log has gained.

    Args:
        path: Of the log, which may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> bytes:
        """Return what is new; of a log that was cut only what comes after the cut."""
        try:
            with open(self._path, "rb", opener=files.opener) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # its middle was cut out; nearly all of it has been read
                    self._offset = size
                file.seek(self._offset)
                piece = file.read()
        except OSError:  # it is not there yet
            return b""
        self._offset += len(piece)
        return piece
