"""Colour in the lines of the command line, where a terminal shows it and nobody objects."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TextIO

_RED, _GREEN, _YELLOW, _CYAN, _PLAIN = (f"\x1b[{code}m" for code in (31, 32, 33, 36, 0))
_WORDS = {
    "passed": _GREEN,
    "completed": _GREEN,
    "running": _CYAN,
    "scheduled": _CYAN,
    "cancelled": _YELLOW,
    "incomplete": _YELLOW,
    "no_tests": _YELLOW,
    "skipped": _YELLOW,
    "timed_out": _RED,
    "failed": _RED,
    "error": _RED,
    "crashed": _RED,
    "fixed": _GREEN,
}
# The first word, or the one after a job's id: what follows may be anybody's text.
_FIRST = re.compile(
    rf"^((?:\d{{8}}-\d{{6}}-[0-9a-f]{{6}}\s+(?:completed\s+)?)?)({'|'.join(_WORDS)})\b", re.I
)


def wanted(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether lines on a stream are to be coloured; see https://no-color.org."""
    if stream is None or environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return False
    return stream.isatty()


def painted(line: str) -> str:
    """Return a line with the word that tells an outcome or a status in its colour."""
    return _FIRST.sub(
        lambda found: f"{found[1]}{_WORDS[found[2].lower()]}{found[2]}{_PLAIN}", line, count=1
    )
