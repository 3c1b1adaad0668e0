"""Take and look at the worker slots of the machine: one locked file for each worker that runs.

Whoever has the lock has the slot, and the kernel gives it back when its holder and all to whom
the holder passed the descriptor are gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pytest_valor_schedule._util import locks
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import check, look_up
from pytest_valor_schedule.errors import ScheduleError

_LOOK_SECONDS = 0.001


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a slot: a job, or a pytest that somebody started by hand.

    Attributes:
        job_id: The job, "" for a direct run.
        command: What was started by hand.
        folder: Where.
        pid: Its process.
        since: When it took the slot, in seconds since the epoch.
    """

    job_id: str = ""
    command: str = ""
    folder: str = ""
    pid: int = 0
    since: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class SlotLease:
    """Slots that this process has.

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
    return usable_cpus() if setting.value is None else int(check("slots", setting))


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


def take(
    home: Home, most: int, count: int, holder: Holder, least: int | None = None
) -> SlotLease | None:
    """Take slots, the lowest free numbers.

    Args:
        home: Whose slots they are.
        most: How many.
        count: How many the machine has.
        holder: Who takes them.
        least: How few will do; None for no fewer than `most`.

    Returns:
        The slots, or None if fewer are free; then it takes none.
    """
    taken = ((n, slot) for n in range(count) if (slot := _try(_path(home, n))) is not None)
    handles = dict(islice(taken, most))
    lease = SlotLease(tuple(handles), tuple(handles.values()))
    if len(handles) < (most if least is None else least):
        lease.release()
        return None
    for handle in lease.handles:
        _sign(handle, holder)
    return lease


def _try(path: Path) -> int | None:
    """Take a slot, and try twice: whoever looks whether it is held holds it for a moment."""
    handle = locks.try_exclusive(path)
    if handle is None:
        time.sleep(_LOOK_SECONDS)
        handle = locks.try_exclusive(path)
    return handle


def _path(home: Home, number: int) -> Path:
    return home.slots / f"{number}.lock"


def _sign(handle: int, holder: Holder) -> None:
    with contextlib.suppress(OSError):  # on a full disk nobody sees whose it is
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(dataclasses.asdict(holder)).encode(), 0)


def free(home: Home, count: int) -> list[int]:
    """Return the numbers of the slots that nobody holds."""
    return [n for n in range(count) if not locks.is_held(_path(home, n))]


def holders(home: Home, count: int) -> dict[int, Holder]:
    """Return who holds which slot, by its number; the free ones are left out."""
    held = set(range(count)) - set(free(home, count))
    return {n: _holder(_path(home, n)) for n in sorted(held)}


def _holder(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # it has not signed yet, or could not
        return Holder()


def threads_for_each(count: int) -> int:
    """Return how many threads one of so many workers may use without crowding out the others."""
    return max(1, usable_cpus() // count)
