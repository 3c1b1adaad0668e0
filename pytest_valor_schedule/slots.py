"""Worker slots of the machine: one locked file for each worker that runs.

Whoever has the lock has the slot, and the kernel gives it back when its holder and all to whom
the holder passed the descriptor are gone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_valor_schedule import locks
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.job import Job
from pytest_valor_schedule.settings import Home, look_up


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """Slots that this process holds.

    Attributes:
        numbers: Of the slots, from 0.
        handles: The descriptors of their locks.
    """

    numbers: tuple[int, ...]
    handles: tuple[int, ...]

    def release(self) -> None:
        """Give them back."""
        for handle in self.handles:
            os.close(handle)


def total(home: Home, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many workers may run at once on this machine.

    Raises:
        InvalidRequestError: if the setting `slots` is no number of 1 or more.
    """
    setting = look_up("slots", None, environment, None, home.settings())
    if setting.value is None:
        return usable_cpus()
    try:
        count = int(str(setting.value))
    except ValueError:
        count = 0
    if count < 1:
        raise InvalidRequestError(
            f"{setting.source} is {setting.value!r}, but must be a whole number of 1 or more."
        )
    return count


def total_or_cpus(home: Home, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many workers may run at once, where a wrong setting must not stop the caller."""
    try:
        return total(home, environment)
    except ScheduleError:
        return usable_cpus()


def usable_cpus() -> int:
    """Return how many CPUs this process may use, by its affinity and the quota of its cgroup."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(count or 1, _quota(Path("/sys/fs/cgroup/cpu.max"))))


def _quota(path: Path) -> int:
    """Return the CPUs that a cgroup v2 grants, rounded up; many if it sets no limit."""
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 16


def take(home: Home, wanted: int, count: int) -> Held | None:
    """Take slots, the lowest free numbers.

    Args:
        home: Whose slots they are.
        wanted: How many.
        count: How many the machine has.

    Returns:
        The slots, or None if fewer are free; then none is held.
    """
    numbers: list[int] = []
    handles: list[int] = []
    for number in range(count):
        handle = locks.try_exclusive(home.slots / f"{number}.lock")
        if handle is not None:
            numbers.append(number)
            handles.append(handle)
        if len(numbers) == wanted:
            return Held(tuple(numbers), tuple(handles))
    Held(tuple(numbers), tuple(handles)).release()
    return None


def free(home: Home, count: int) -> list[int]:
    """Return the numbers of the slots that nobody holds."""
    return [n for n in range(count) if not locks.is_held(home.slots / f"{n}.lock")]


def holders(home: Home, count: int, jobs: Iterable[Job]) -> dict[int, str | None]:
    """Return for each slot the id of the job that has it.

    Args:
        home: Whose slots they are.
        count: How many there are.
        jobs: Those that run.

    Returns:
        Number to id; "" for a slot that is held, but by none of the jobs; None for a free one.
    """
    ids = {number: job.job_id for job in jobs for number in job.slots or ()}
    unheld = set(free(home, count))
    return {n: None if n in unheld else ids.get(n, "") for n in range(count)}


def threads_for_each(count: int) -> int:
    """Return how many threads one of so many workers may use without crowding out the others."""
    return max(1, usable_cpus() // count)
