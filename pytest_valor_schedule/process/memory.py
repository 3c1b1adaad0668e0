"""Measure the memory that processes use, and that there is (Linux; elsewhere nothing is known)."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUP_V2 = Path("/sys/fs/cgroup")
_CGROUP_V1 = Path("/sys/fs/cgroup/memory")


def available(proc: Path = _PROC, v2: Path = _CGROUP_V2, v1: Path = _CGROUP_V1) -> float:
    """Return how many bytes new processes can take without swapping; infinity if not known."""
    free: list[float] = [*_sizes(proc / "meminfo", "MemAvailable"), math.inf]
    free.append(_within(v2 / "memory.max", v2 / "memory.current", v2, "inactive_file"))
    usage = v1 / "memory.usage_in_bytes"
    free.append(_within(v1 / "memory.limit_in_bytes", usage, v1, "total_inactive_file"))
    return min(free)


def _within(limit: Path, usage: Path, folder: Path, cache: str) -> float:
    """Return how much of a cgroup's limit is left; what caches files can be had back."""
    try:
        most, used = int(limit.read_text()), int(usage.read_text())  # a ValueError for "max"
        match = re.search(rf"^{cache} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return math.inf
    return max(0, most - used + int(match[1] if match else 0))


def used_by_children(pid: int, proc: Path = _PROC) -> int:
    """Return how many bytes the descendants of a process use that only swapping could free."""
    return sum(_used(each, proc) for each in _descendants(pid, proc))


def peak_of_ended_children() -> int:
    """Return the most bytes that one of this process' ended descendants had; 0 if not known.

    It tells of what was too short to be seen while it ran.
    """
    if sys.platform != "linux":  # where it has another unit, or does not count grandchildren
        return 0
    import resource  # in a submitter it could hide a module of the project's that is called so

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def children(pid: int | str, proc: Path = _PROC) -> Iterator[int]:
    """Yield the processes whose parent is another one, "self" for this one."""
    tasks = proc / str(pid) / "task"
    names = list[str]()
    with contextlib.suppress(OSError):  # it ends at this very moment, over which glob() stumbles
        names = os.listdir(tasks)  # noqa: PTH208
    for name in names:
        with contextlib.suppress(OSError):
            yield from map(int, (tasks / name / "children").read_text().split())


def _descendants(pid: int, proc: Path) -> Iterator[int]:
    for child in children(pid, proc):
        yield child
        yield from _descendants(child, proc)


def _used(pid: int, proc: Path) -> int:
    """Return a process' resident memory but for that of files.

    The proportional set size (smaps_rollup) would count what forked processes share only once, but
    takes milliseconds for each look and stops the process meanwhile.
    """
    return sum(_sizes(proc / str(pid) / "status", "RssAnon", "RssShmem"))


def _sizes(path: Path, *names: str) -> list[int]:
    """Return sizes in bytes from a file with lines such as "RssAnon:  312 kB"."""
    with contextlib.suppress(OSError):
        lines = re.findall(rf"^(?:{'|'.join(names)}):\s+(\d+) kB$", path.read_text(), re.MULTILINE)
        return [int(size) * 1024 for size in lines]
    return []
