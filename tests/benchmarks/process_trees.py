"""CPU seconds and memory of what this process has started, with all that it started (Linux).

A child of this process belongs to a tree if it was started with a mark, `NAME=value`, in its
environment; what a child has started belongs to it. This process must be a subreaper, so that what
has left its parent is a child of this process too.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from pytest_valor_schedule.process.memory import children

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.01
_QUIET_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0


def members(marks: Collection[str]) -> list[int]:
    """Return the processes of the trees with one of the marks."""
    own = [pid for pid in children("self") if _is_marked(pid, marks)]
    return [each for pid in own for each in (pid, *_descendants(pid))]


def cpu_seconds(marks: Collection[str]) -> float:
    """Return what the trees have used so far, and all children of this process that have ended.

    What has ended in a tree is counted by the parent that has waited for it.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(map(_ticks, members(marks))) / _TICKS


def settle(marks: Collection[str], is_idle: Callable[[], bool]) -> None:
    """Wait until a tree neither has work nor does any, and reap what was left to this process."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before, since = (0.0, list[int]()), time.monotonic()
    while time.monotonic() < min(deadline, since + _QUIET_SECONDS):
        time.sleep(_QUIET_SECONDS / 5)
        _reap()
        now = (cpu_seconds(marks), sorted(members(marks)))
        if now != before or not is_idle():
            before, since = now, time.monotonic()


@contextlib.contextmanager
def sampled_memory(marks: Collection[str]) -> Iterator[list[int]]:
    """Give a list that fills with the sizes of the trees in bytes while the block runs."""
    sizes, over = [0], threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            sizes.append(sum(map(_proportional_size, members(marks))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def _is_marked(pid: int, marks: Collection[str]) -> bool:
    with contextlib.suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(mark.encode() in variables for mark in marks)
    return False


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from _descendants(child)


def _ticks(pid: int) -> int:
    """Return the ticks of a process and of those of its children that it has waited for."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0


def _proportional_size(pid: int) -> int:
    """Return a process' memory; what processes share, as forks do, is counted once in all."""
    with contextlib.suppress(OSError):
        match = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(match[1]) * 1024 if match else 0
    return 0


def _reap() -> None:
    """Wait for the orphans that have ended, so that their CPU seconds are counted."""
    for pid in children("self"):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
