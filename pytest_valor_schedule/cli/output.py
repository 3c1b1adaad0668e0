"""Print answers as JSON or as lines, in colour where a terminal shows it and nobody objects."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.render import Response

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import TextIO

Options = argparse.Namespace

_SCHEMA_VERSION = 1
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
_FIRST = rf"^((?:\d{{8}}-\d{{6}}-[0-9a-f]{{6}}\s+(?:completed\s+)?)?)({'|'.join(_WORDS)})\b"


def complain(text: str) -> None:
    """Print an error."""
    with contextlib.suppress(OSError):  # there is nobody else to tell
        if sys.stderr is not None:
            print(f"error: {render.plain(text)}", file=sys.stderr)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines, in colour where a terminal shows it."""
    is_coloured = in_colour(sys.stdout)
    for line in lines:
        print(paint(line) if is_coloured else line)


def show(options: Options, answer: Response, lines: Callable[[Response], Sequence[str]]) -> int:
    """Print an answer as JSON or as text; return 1 for an error."""
    if options.json:
        print(json.dumps({"schema_version": _SCHEMA_VERSION, **answer}, indent=1))
    elif "error" in answer:
        complain(answer["error"])
        print_lines(str(answer.get("output") or "").splitlines())
    else:
        print_lines(lines(answer))
    return 1 if "error" in answer else 0


def write(path: str, text: str) -> None:
    """Write a file that was asked for, and say so."""
    from pytest_valor_schedule._util import files

    files.write_public(path, text)
    print(f"written: {path}", file=sys.stderr)


def is_terminal(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream leads to a terminal that can do more than print."""
    return stream is not None and stream.isatty() and environment.get("TERM", "dumb") != "dumb"


def in_colour(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether lines on a stream are to be coloured; see https://no-color.org."""
    return not environment.get("NO_COLOR") and is_terminal(stream, environment)


def paint(line: str) -> str:
    """Return a line with the word that tells an outcome or a status in its colour."""
    return re.sub(_FIRST, _painted, line, count=1, flags=re.IGNORECASE)


def _painted(match: re.Match[str]) -> str:
    return f"{match[1]}{_WORDS[match[2].lower()]}{match[2]}{_PLAIN}"
