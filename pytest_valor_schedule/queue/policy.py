"""Decide which queued jobs start now, and with how many workers. Pure.

A job that does not fit gets a reservation, and a later one may start before it only if that does
not delay it: EASY backfill (Lifka, "The ANL/IBM SP scheduling system", 1995).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_valor_schedule.config.settings import AGING_SECONDS
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.queue.demand import (
    Load,
    Running,
    expected_memory,
    expected_seconds,
    needs,
    when_started,
)

_MOST_STEPS = 200  # of a forecast; what starts later than that is not foretold
_MOST_FORETOLD = 100  # jobs: nobody knows how it will be for those behind so many others


class Start(NamedTuple):
    """A job that starts now, with so many workers."""

    job: Job
    workers: int


def in_order(queue: Sequence[Job], aging: float = AGING_SECONDS) -> list[Job]:
    """Return the queued jobs, oldest first, in the order in which they are considered.

    It is that of their priority, but waiting raises it: nobody starts before a job of a lower
    priority that is older by `aging` seconds for each step between them. So nobody starves.
    """
    latest, keys = 0.0, dict[str, float]()
    for job in queue:
        latest = max(latest, job.created_at)  # a clock that is set back lets nobody jump ahead
        keys[job.job_id] = latest + job.priority.rank * aging
    return sorted(queue, key=lambda job: keys[job.job_id])


def to_start(
    queue: Sequence[Job],
    running: Sequence[Running],
    total: int,
    now: float,
    aging: float = AGING_SECONDS,
    memory: float = math.inf,
) -> list[Start]:
    """Return the jobs that start now.

    Args:
        queue: The scheduled jobs, oldest first.
        running: The jobs that have slots.
        total: How many slots there are.
        now: Seconds since the epoch.
        aging: As for `in_order`.
        memory: Bytes that jobs may take beyond what those that run are expected to.
    """
    waiting, starts = in_order(queue, aging), list[Start]()
    while True:  # what has started changes what is reserved
        own = _as_running(starts, now)
        free = memory - sum(each.memory for each in own)
        new = list(_Round([*running, *own], total, now, free).starts(waiting))
        if not new:
            return starts
        starts += new
        ids = {start.job.job_id for start in new}
        waiting = [job for job in waiting if job.job_id not in ids]


def _as_running(starts: Iterable[Start], now: float) -> list[Running]:
    return [when_started(job, workers, now) for job, workers in starts]


class _Round:
    """One look at the queue: what is free, and what the first that does not fit has reserved."""

    def __init__(self, running: list[Running], total: int, now: float, memory: float) -> None:
        self._running = running
        self._total = total
        self._now = now
        self._free = Load(total - sum(each.slots for each in running), memory)
        self._reserved_at: float | None = None
        self._free_later = Load(0, 0)  # what is still free when the reservation begins

    def starts(self, waiting: Iterable[Job]) -> Iterator[Start]:
        """Yield the jobs that get their slots, until none is free."""
        for job in waiting:
            if self._free.slots <= 0:
                return
            if workers := self._workers_for(job):
                self._give(when_started(job, workers, self._now))
                yield Start(job, workers)

    def _give(self, running: Running) -> None:
        """Take what a job has that starts from what is free, and will be."""
        if self._reserved_at is not None and running.ends_at > self._reserved_at:
            self._free_later = self._free_later.less(running.load)
        self._free = self._free.less(running.load)
        self._running.append(running)

    def _workers_for(self, job: Job) -> int:
        """Return with how many workers a job starts now, 0 for not at all."""
        need = needs(job, self._total)
        if self._reserved_at is not None:
            return self._backfill(job, need)
        if self._fits(job, need):
            return need
        begins, free = self._first_fit(self._load(job, need))
        fewer = next(
            (n for n in range(min(need, self._free.slots), 0, -1) if self._fits(job, n)), 0
        )
        latest = begins + expected_seconds(job, need)
        if fewer and self._now + expected_seconds(job, fewer) <= latest:
            return fewer
        self._reserved_at, self._free_later = begins, free.less(self._load(job, need))
        return 0

    def _backfill(self, job: Job, need: int) -> int:
        """Return the most workers that do not delay the reservation."""
        assert self._reserved_at is not None
        for workers in range(min(need, self._free.slots), 0, -1):
            ends = self._now + expected_seconds(job, workers)
            early = ends <= self._reserved_at
            if self._fits(job, workers) and (
                early or self._load(job, workers).fits(self._free_later)
            ):
                return workers
        return 0

    @staticmethod
    def _load(job: Job, workers: int) -> Load:
        return Load(workers, expected_memory(job, workers))

    def _fits(self, job: Job, workers: int) -> bool:
        """Return whether there is room now; a job alone may always try."""
        load = self._load(job, workers)
        return load.fits(self._free if self._running else self._free._replace(memory=math.inf))

    def _first_fit(self, need: Load) -> tuple[float, Load]:
        """Return when there will be enough of all, and how much is free then."""
        free, moment = self._free, self._now
        for each in sorted(self._running, key=lambda running: running.ends_at):
            if need.fits(free) and each.ends_at > moment:
                break
            free, moment = free.plus(each.load), max(moment, each.ends_at)
        return moment, free


def forecast(
    queue: Sequence[Job],
    running: Sequence[Running],
    total: int,
    now: float,
    aging: float = AGING_SECONDS,
    memory: float = math.inf,
) -> dict[str, float]:
    """Return when each queued job is expected to start, by its id, in seconds since the epoch.

    It plays the policy on, with every job taking as long as it is expected to. What stands far
    back is not foretold.
    """
    waiting, active, starts = _front(queue, aging), list(running), dict[str, float]()
    for _ in range(_MOST_STEPS):
        new = _as_running(to_start(waiting, active, total, now, aging, memory), now)
        starts |= {each.job_id: now for each in new}
        memory -= sum(each.memory for each in new)
        active += new
        waiting = [job for job in waiting if job.job_id not in starts]
        if not waiting or not active:
            break
        now = max(now, min(each.ends_at for each in active))
        memory += sum(each.memory for each in active if each.ends_at <= now)
        active = [each for each in active if each.ends_at > now]
    return starts


def _front(queue: Sequence[Job], aging: float) -> list[Job]:
    """Return the jobs that come first, oldest first."""
    ids = {job.job_id for job in in_order(queue, aging)[:_MOST_FORETOLD]}
    return [job for job in queue if job.job_id in ids]
