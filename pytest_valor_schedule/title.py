"""The command and the environment that /proc shows of a process that was forked (Linux).

They are bytes at the top of its stack, and those of its parent until somebody writes over them;
setproctitle does it in this way. By them people see what runs, and we find what a job has left.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_STAT = Path("/proc/self/stat")
_FIRST, _LAST = 45, 49  # arg_start, arg_end, env_start, env_end, counted from the state


def has_room(variable: str) -> bool:
    """Return whether a `NAME=value` can be shown."""
    try:
        _, _, start, end = _places()
    except (OSError, ValueError):
        return False
    return start > 0 and len(variable.encode(errors="surrogateescape")) < end - start


def show_as(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Show this process as one that was started with a command and an environment.

    Nobody may use what it was itself started with any more. What has no room is cut off.
    """
    *own, start, end = _places()
    _write(own[0], own[1], command)
    _write(start, end, (f"{name}={value}" for name, value in environment.items()))


def _places() -> list[int]:
    fields = _STAT.read_text(errors="replace").rpartition(")")[2].split()[_FIRST:_LAST]
    places = [int(field) for field in fields]
    if len(places) != _LAST - _FIRST:
        raise ValueError("The kernel does not say where they are.")
    return places


def _write(start: int, end: int, words: Iterable[str]) -> None:
    room = end - start
    text = b"\0".join(word.encode(errors="surrogateescape") for word in words)
    if room > 0:
        ctypes.memmove(start, text[: room - 1].ljust(room, b"\0"), room)
