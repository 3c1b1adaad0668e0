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


def processes_marked(mark: str) -> list[int]:
    """Return the live processes that were started with `NAME=value` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in environment and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
