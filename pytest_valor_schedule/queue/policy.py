"""Which queued jobs start now, and with how many workers. Pure.

A job that does not fit gets a reservation, and a later one may start before it only if that does
not delay it: EASY backfill (Lifka, "The ANL/IBM SP scheduling system", 1995).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_valor_schedule.config.settings import AGING_SECONDS
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.queue.pace import Standing, seconds_left

_MOST_STEPS = 200  # of a forecast; what starts later than that is not foretold
_MOST_FORETOLD = 100  # jobs: nobody knows how it will be for those behind so many others
_SOONEST_SECONDS = 1.0  # after which a job ends that still runs


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A job that has slots.

    Attributes:
        job_id: Its id.
        slots: How many it has.
        ends_at: When it is expected to give them back, in seconds since the epoch.
        memory: How many bytes it is expected to give back then.
        name: For people, where it is not a job.
        known: Whether anything is known of its end, by its history or its pace.
    """

    job_id: str
    slots: int
    ends_at: float
    memory: float = 0.0
    name: str = ""
    known: bool = True

    @property
    def load(self) -> Load:
        """What it takes of the machine."""
        return Load(self.slots, self.memory)


class Load(NamedTuple):
    """Worker slots and bytes of memory: taken, wanted or free."""

    slots: int
    memory: float

    def fits(self, free: Load) -> bool:
        """Return whether there is enough of both."""
        return self.slots <= free.slots and self.memory <= free.memory

    def plus(self, other: Load) -> Load:
        """Return both together."""
        return Load(self.slots + other.slots, self.memory + other.memory)

    def less(self, other: Load) -> Load:
        """Return what is left without the other."""
        return Load(self.slots - other.slots, self.memory - other.memory)


class Start(NamedTuple):
    """A job that starts now, with so many workers."""

    job: Job
    workers: int


def in_order(queued: Sequence[Job], aging: float = AGING_SECONDS) -> list[Job]:
    """Return the queued jobs in the order in which they are considered.

    It is that of their priority, but waiting raises it: nobody starts before a job of a lower
    priority that is older by `aging` for each step between them. So nobody starves.

    Args:
        queued: The scheduled jobs, oldest first.
        aging: Seconds that one step of priority is worth.
    """
    latest, keys = 0.0, dict[str, float]()
    for job in queued:
        latest = max(latest, job.created_at)  # a clock that is set back lets nobody jump ahead
        keys[job.job_id] = latest + job.priority.rank * aging
    return sorted(queued, key=lambda job: keys[job.job_id])


def needs(job: Job, total: int) -> int:
    """Return how many slots a job wants, of so many in all."""
    return min(job.worker_demand, total)


def expected_memory(job: Job, workers: int) -> float:
    """Return how many bytes a job is expected to take with so many workers, at its peak."""
    return (job.estimated_memory_bytes or 0) * (1 + workers) / (1 + job.worker_demand)


def expected_seconds(job: Job, workers: int) -> float:
    """Return how long a job is expected to run with so many workers."""
    wanted = job.worker_demand
    return job.estimated_seconds * wanted / min(workers, wanted)


def expected_end(job: Job, now: float, progress: Mapping[str, Any] | None = None) -> float:
    """Return when a job that runs is expected to end: by its estimate and its pace, in its limit.

    Args:
        job: The job.
        now: Seconds since the epoch.
        progress: As its runner last said it.
    """
    workers = job.workers or job.worker_demand
    elapsed = 0.0 if job.started_at is None else max(0.0, now - job.started_at)
    expected = expected_seconds(job, workers)
    left = seconds_left(expected, elapsed, workers, Standing.of(progress), now)
    return now + max(_SOONEST_SECONDS, min(left, job.timeout_minutes * 60 - elapsed))


def knows_end(job: Job, progress: Mapping[str, Any] | None) -> bool:
    """Return whether the end of a job can be told: it has a history, or tests have finished."""
    return job.has_history or bool((progress or {}).get("finished"))


def occupied(
    jobs: Iterable[Job], now: float, progress: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Running]:
    """Return what running jobs, and those about to run, have of the machine.

    Args:
        jobs: The jobs.
        now: Seconds since the epoch.
        progress: By the id of a job, as its runner last said it.
    """
    found = []
    for job in jobs:
        workers = job.workers or job.worker_demand
        memory = expected_memory(job, workers)
        said = (progress or {}).get(job.job_id)
        ends_at, known = expected_end(job, now, said), knows_end(job, said)
        found.append(Running(job.job_id, workers, ends_at, memory, known=known))
    return found


def to_start(
    queued: Sequence[Job],
    running: Sequence[Running],
    total: int,
    now: float,
    aging: float = AGING_SECONDS,
    memory: float = math.inf,
) -> list[Start]:
    """Return the jobs that start now.

    Args:
        queued: The scheduled jobs, oldest first.
        running: The jobs that have slots.
        total: How many slots there are.
        now: Seconds since the epoch.
        aging: As for `in_order`.
        memory: Bytes that jobs may take beyond what those that run are expected to.
    """
    waiting, starts = in_order(queued, aging), list[Start]()
    while True:  # what has started changes what is reserved
        started = _as_running(starts, now)
        left = memory - sum(each.memory for each in started)
        round_ = _Round([*running, *started], total, now, left)
        found = list(round_.starts(waiting))
        if not found:
            return starts
        starts += found
        started_ids = {start.job.job_id for start in found}
        waiting = [job for job in waiting if job.job_id not in started_ids]


def _as_running(starts: Iterable[Start], now: float) -> list[Running]:
    return [_one_running(job, workers, now) for job, workers in starts]


def _one_running(job: Job, workers: int, now: float) -> Running:
    ends_at = now + min(expected_seconds(job, workers), job.timeout_minutes * 60)
    return Running(job.job_id, workers, ends_at, expected_memory(job, workers))


class _Round:
    """One look at the queue: what is free, and what the first that does not fit has reserved."""

    def __init__(self, running: list[Running], total: int, now: float, memory: float) -> None:
        self._running = running
        self._total = total
        self._now = now
        self._free = Load(total - sum(each.slots for each in running), memory)
        self._reserved_at: float | None = None
        self._spare = Load(0, 0)  # what is still free when the reservation begins

    def starts(self, waiting: Iterable[Job]) -> Iterator[Start]:
        """Yield the jobs that get their slots, until none is free."""
        for job in waiting:
            if self._free.slots <= 0:
                return
            if workers := self._start(job):
                yield Start(job, workers)

    def _start(self, job: Job) -> int:
        """Give a job its slots and return how many; 0 if it does not start now."""
        workers = self._workers_for(job)
        if workers:
            started = _one_running(job, workers, self._now)
            if self._reserved_at is not None and started.ends_at > self._reserved_at:
                self._spare = self._spare.less(started.load)
            self._free = self._free.less(started.load)
            self._running.append(started)
        return workers

    def _workers_for(self, job: Job) -> int:
        """Return with how many workers a job starts now, 0 for not at all."""
        need = needs(job, self._total)
        if self._reserved_at is not None:
            return self._backfill(job, need)
        if self._fits(job, need):
            return need
        begins, free = self._first_fit(self._load(job, need))
        fewer = next((n for n in range(self._free.slots, 0, -1) if self._fits(job, n)), 0)
        fewer = min(fewer, need)
        if fewer:
            seconds = expected_seconds(job, fewer)
            if self._now + seconds <= begins + expected_seconds(job, need):
                return fewer
        self._reserved_at, self._spare = begins, free.less(self._load(job, need))
        return 0

    def _backfill(self, job: Job, need: int) -> int:
        """Return the most workers that do not delay the reservation."""
        assert self._reserved_at is not None
        for workers in range(min(need, self._free.slots), 0, -1):
            ends = self._now + expected_seconds(job, workers)
            early = ends <= self._reserved_at
            if self._fits(job, workers) and (early or self._load(job, workers).fits(self._spare)):
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
    queued: Sequence[Job],
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
    waiting, active, starts = _front(queued, aging), list(running), dict[str, float]()
    for _ in range(_MOST_STEPS):
        found = _as_running(to_start(waiting, active, total, now, aging, memory), now)
        starts |= {each.job_id: now for each in found}
        memory -= sum(each.memory for each in found)
        active += found
        waiting = [job for job in waiting if job.job_id not in starts]
        if not waiting or not active:
            break
        now = max(now, min(each.ends_at for each in active))
        memory += sum(each.memory for each in active if each.ends_at <= now)
        active = [each for each in active if each.ends_at > now]
    return starts


def _front(queued: Sequence[Job], aging: float) -> list[Job]:
    """Return the jobs that come first, oldest first."""
    ids = {job.job_id for job in in_order(queued, aging)[:_MOST_FORETOLD]}
    return [job for job in queued if job.job_id in ids]
