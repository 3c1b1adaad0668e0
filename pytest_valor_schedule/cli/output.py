"""What the command line prints."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_valor_schedule.text import colour, render

Answer = Mapping[str, Any]
Options = argparse.Namespace

_SCHEMA_VERSION = 1


def complain(text: str) -> None:
    """Print an error."""
    with contextlib.suppress(OSError):  # there is nobody else to tell
        if sys.stderr is not None:
            print(f"error: {render.plain(text)}", file=sys.stderr)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines, in colours where they are wanted."""
    on = colour.wanted(sys.stdout)
    for line in lines:
        print(colour.painted(line) if on else line)


def show(options: Options, answer: Answer, lines: Callable[[Answer], Sequence[str]]) -> int:
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
