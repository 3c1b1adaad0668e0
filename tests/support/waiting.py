"""Waiting on conditions, and looking for processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DEADLINE_SECONDS = 60.0

_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str, seconds: float = DEADLINE_SECONDS) -> _T:
    """Return the first true value of condition; fail when the deadline is over."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"It did not come to pass that {what}."
        time.sleep(0.02)
    return value


def processes_marked(mark: str, *, whole: bool = True) -> list[int]:
    """Return the live processes that were started with `NAME=value` in their environment.

    Args:
        mark: The variable.
        whole: Whether it is all of it, and not just its beginning.
    """
    text = mark.encode() + (b"\0" if whole else b"")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = b"\0" + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"\0" + text in environment and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def serving(root: Path, name: str) -> list[int]:
    """Return the processes of a home that have a name."""
    found = []
    for pid in processes_marked(f"VALOR_HOME={root}"):
        try:
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        found += [pid] if comm == name else []
    return found
