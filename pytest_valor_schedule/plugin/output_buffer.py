"""Buffer what a pytest prints while it collects, until it is known who shows the run."""

from __future__ import annotations

import sys
from typing import Any, TextIO

NAME = "valor_schedule_output_buffer"
"""Of the plugin, while there is a buffer."""
_NOTE = "collecting the tests ..."


class BufferedStream:
    """Stand in for a text stream; pytest's terminal and `print` write to it.

    Args:
        stream: Where all goes that is not thrown away.
        note: What a terminal shows as long as all is kept.
    """

    def __init__(self, stream: TextIO, note: str = "") -> None:
        self.stream = stream
        self._pieces: list[str] | None = []
        self._note = note if note and stream.isatty() else ""
        self._write_through(self._note)

    def __getattr__(self, name: str) -> Any:
        """Be like the stream in everything else: whether it is a terminal, its encoding."""
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Keep a text, or write it once nothing is kept any more."""
        if self._pieces is None:
            return self.stream.write(text)
        if encoding := getattr(self.stream, "encoding", None):
            text.encode(encoding, getattr(self.stream, "errors", None) or "strict")  # or raise
        self._pieces.append(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless all is kept."""
        if self._pieces is None:
            self.stream.flush()

    def release(self) -> None:
        """Write what was kept, and from now on all that comes."""
        self._write_through("".join(self._forget()))

    def discard(self) -> None:
        """Throw away what was kept, and write from now on all that comes."""
        self._forget()

    def _forget(self) -> list[str]:
        pieces, self._pieces = self._pieces or [], None
        blank = " " * len(self._note)
        self._write_through(f"\r{blank}\r" if self._note else "")
        self._note = ""
        return pieces

    def _write_through(self, text: str) -> None:
        if text:
            self.stream.write(text)
            self.stream.flush()


class BufferedOutput:
    """Buffer all that a process prints; the job's pytest prints what this one would have."""

    def __init__(self) -> None:
        self._buffers = {"stdout": BufferedStream(sys.stdout, _NOTE)}
        if sys.stderr is not None:  # as where it is closed
            self._buffers["stderr"] = BufferedStream(sys.stderr)
        for name, buffer in self._buffers.items():
            setattr(sys, name, buffer)

    def discard(self) -> None:
        """Throw away what was kept, and write from now on all that comes."""
        for buffer in self._buffers.values():
            buffer.discard()

    def end(self) -> None:
        """Write what is left, and stand no longer in between."""
        for name, buffer in self._buffers.items():
            if getattr(sys, name) is buffer:
                setattr(sys, name, buffer.stream)
            buffer.release()

    def pytest_internalerror(self) -> None:
        """Let an error of pytest itself be seen, which it prints past whoever stands in between."""
        self.end()
