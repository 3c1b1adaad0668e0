"""Measure what of the machine is in use, and what jobs that wait may have."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_valor_schedule.config import settings
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.process import memory
from pytest_valor_schedule.queue import demand, slots
from pytest_valor_schedule.queue.demand import Running
from pytest_valor_schedule.queue.slots import Holder
from pytest_valor_schedule.queue.store import JobStore

_SHORTEST_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """The machine as the policy sees it.

    Attributes:
        total: How many worker slots there are.
        running: Who has some of them.
        memory: Bytes that further jobs may take.
    """

    total: int
    running: tuple[Running, ...]
    memory: float


def capacity(store: JobStore, total: int, active: Sequence[Job], now: float) -> Capacity:
    """Return what of so many slots is in use, and what is free.

    Active jobs are those that run, or are being started.
    """
    progress = {job.job_id: _progress(store, job.job_id) for job in active}
    jobs = [demand.while_running(job, now, progress[job.job_id]) for job in active]
    holders = slots.holders(store.home, total).values()
    others = _others((who for who in holders if who.job_id not in progress), now)
    growth = sum(each.memory - demand.used_bytes(progress[each.job_id]) for each in jobs)
    reserve = settings.amount("memory_reserve_mb", store.home) * 2**20
    free = memory.available() - reserve - growth
    return Capacity(total, (*jobs, *others), free)


def _progress(store: JobStore, job_id: str) -> Mapping[str, Any]:
    """Return how far a running job is; nothing if that cannot be read."""
    try:
        return store.progress(job_id) or {}
    except (ScheduleError, TypeError, ValueError):
        return {}


def _others(holders: Iterable[Holder], now: float) -> Iterator[Running]:
    """Return who else has slots: runs by hand, and jobs that have ended a moment ago.

    A run by hand is expected to last as long again as it has already.
    """
    for who, count in Counter(holders).items():
        seconds = max(_SHORTEST_SECONDS, now - who.since) if who.pid else _SHORTEST_SECONDS
        name = f"a direct run in {who.folder}" if who.pid else "somebody else"
        name = "" if who.job_id else name
        yield Running(who.job_id, count, now + seconds, name=name, is_predictable=not name)
