"""Which queued jobs start now, and with how many workers. Pure.

A job that does not fit gets a reservation, and a later one may start before it only if that does
not delay it: EASY backfill (Lifka, "The ANL/IBM SP scheduling system", 1995).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_valor_schedule.job import Job

AGING_SECONDS = 1800.0
"""How much younger a job of the next higher priority may be and still start first."""
_MOST_STEPS = 200  # of a forecast; what starts later than that is not foretold


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A job that has slots.

    Attributes:
        job_id: Its id.
        slots: How many it has.
        ends_at: When it is expected to give them back, in seconds since the epoch.
    """

    job_id: str
    slots: int
    ends_at: float


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
    return min(job.workers_wanted, total)


def expected_seconds(job: Job, workers: int) -> float:
    """Return how long a job is expected to run with so many workers."""
    wanted = job.workers_wanted
    return job.estimated_seconds * wanted / min(workers, wanted)


def expected_end(job: Job, now: float) -> float:
    """Return when a job that runs is expected to end: by its estimate, or else by its limit."""
    began = now if job.started_at is None else job.started_at
    limit = began + job.timeout_minutes * 60
    by_estimate = began + expected_seconds(job, job.workers or job.workers_wanted)
    return max(now, min(by_estimate, limit) if by_estimate > now else limit)


def occupied(jobs: Iterable[Job], now: float) -> list[Running]:
    """Return what running jobs, and those about to run, have of the slots."""
    return [
        Running(job.job_id, job.workers or job.workers_wanted, expected_end(job, now))
        for job in jobs
    ]


def to_start(
    queued: Sequence[Job],
    running: Sequence[Running],
    total: int,
    now: float,
    aging: float = AGING_SECONDS,
) -> list[Start]:
    """Return the jobs that start now.

    Args:
        queued: The scheduled jobs, oldest first.
        running: The jobs that have slots.
        total: How many slots there are.
        now: Seconds since the epoch.
        aging: As for `in_order`.
    """
    waiting, starts = in_order(queued, aging), list[Start]()
    while True:  # what has started changes what is reserved
        round_ = _Round([*running, *_as_running(starts, now)], total, now)
        found = [Start(job, n) for job in waiting if (n := round_.start(job))]
        if not found:
            return starts
        starts += found
        waiting = [job for job in waiting if job not in [start.job for start in found]]


def _as_running(starts: Iterable[Start], now: float) -> list[Running]:
    return [
        Running(job.job_id, workers, now + expected_seconds(job, workers))
        for job, workers in starts
    ]


class _Round:
    """One look at the queue: what is free, and what the first that does not fit has reserved."""

    def __init__(self, running: list[Running], total: int, now: float) -> None:
        self._running = running
        self._total = total
        self._now = now
        self._free = total - sum(each.slots for each in running)
        self._reserved_at: float | None = None
        self._spare = 0  # slots that are still free when the reservation begins

    def start(self, job: Job) -> int:
        """Give a job its slots and return how many; 0 if it does not start now."""
        workers = self._workers_for(job)
        ends = self._now + expected_seconds(job, workers) if workers else 0.0
        if self._reserved_at is not None and ends > self._reserved_at:
            self._spare -= workers
        if workers:
            self._free -= workers
            self._running.append(Running(job.job_id, workers, ends))
        return workers

    def _workers_for(self, job: Job) -> int:
        """Return with how many workers a job starts now, 0 for not at all."""
        need = needs(job, self._total)
        if self._reserved_at is not None:
            return self._backfill(job, need)
        if need <= self._free:
            return need
        begins, free = self._first_fit(need)
        if self._free > 0:
            seconds = expected_seconds(job, self._free)
            if self._now + seconds <= begins + expected_seconds(job, need):
                return self._free
        self._reserved_at, self._spare = begins, free - need
        return 0

    def _backfill(self, job: Job, need: int) -> int:
        """Return the most workers that do not delay the reservation."""
        assert self._reserved_at is not None
        for workers in range(min(need, self._free), 0, -1):
            ends = self._now + expected_seconds(job, workers)
            if ends <= self._reserved_at or workers <= self._spare:
                return workers
        return 0

    def _first_fit(self, need: int) -> tuple[float, int]:
        """Return when so many slots will be free, and how many are then."""
        free, moment = self._free, self._now
        for each in sorted(self._running, key=lambda running: running.ends_at):
            if free >= need and each.ends_at > moment:
                break
            free, moment = free + each.slots, max(moment, each.ends_at)
        return moment, free


def forecast(
    queued: Sequence[Job],
    running: Sequence[Running],
    total: int,
    now: float,
    aging: float = AGING_SECONDS,
) -> dict[str, float]:
    """Return when each queued job is expected to start, by its id, in seconds since the epoch.

    It plays the policy on, with every job taking as long as it is expected to.
    """
    waiting, active, starts = list(queued), list(running), dict[str, float]()
    for _ in range(_MOST_STEPS):
        found = to_start(waiting, active, total, now, aging)
        starts |= {start.job.job_id: now for start in found}
        active += _as_running(found, now)
        waiting = [job for job in waiting if job.job_id not in starts]
        if not waiting or not active:
            break
        now = max(now, min(each.ends_at for each in active))
        active = [each for each in active if each.ends_at > now]
    return starts


def reason(job: Job, ahead: int, running: Sequence[Running], total: int, now: float) -> str | None:
    """Return why a job waits, for people; None if it can start.

    Args:
        job: The job.
        ahead: How many queued jobs come before it.
        running: The jobs that have slots.
        total: How many slots there are.
        now: Seconds since the epoch.
    """
    free = total - sum(each.slots for each in running)
    need = needs(job, total)
    parts = []
    if need > free:
        slots = "worker slot" if need == 1 else "worker slots"
        parts.append(f"{need} {slots}, {max(0, free)} of {total} free")
    if ahead:
        parts.append(f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead of it")
    if not parts:
        return None
    text = "waits for " + " and ".join(parts)
    if running and need > free:
        first = min(running, key=lambda each: each.ends_at)
        seconds = max(1, round(first.ends_at - now))
        text += f"; {first.job_id} ends in about {seconds} s"
    return text
