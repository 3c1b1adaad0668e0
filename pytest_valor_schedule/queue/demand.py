"""Tell what a job takes of the machine, and for how long. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.queue.pace import Pace, remaining_of_run

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
        is_predictable: Whether its end can be told, by its history or its pace.
    """

    job_id: str
    slots: int
    ends_at: float
    memory: float = 0.0
    name: str = ""
    is_predictable: bool = True

    @property
    def load(self) -> Load:
        """What it takes of the machine."""
        return Load(self.slots, self.memory)


class Load(NamedTuple):
    """Worker slots and bytes of memory: in use, needed or free."""

    slots: int
    memory: float

    def fits(self, free: Load) -> bool:
        """Return whether there is enough of both."""
        return self.slots <= free.slots and self.memory <= free.memory

    def plus(self, other: Load) -> Load:
        """Return the sum of both."""
        return Load(self.slots + other.slots, self.memory + other.memory)

    def less(self, other: Load) -> Load:
        """Return the difference of both."""
        return Load(self.slots - other.slots, self.memory - other.memory)


def needs(job: Job, total: int) -> int:
    """Return how many slots a job wants, of so many in all."""
    return min(job.worker_demand, total)


def expected_memory(job: Job, workers: int) -> float:
    """Return how many bytes a job is expected to take with so many workers, at its peak."""
    return (job.estimated_memory_bytes or 0) * (1 + workers) / (1 + job.worker_demand)


def expected_seconds(job: Job, workers: int) -> float:
    """Return how long a job is expected to run with so many workers."""
    most = job.worker_demand
    return job.estimated_seconds * most / min(workers, most)


def expected_end(job: Job, now: float, progress: Mapping[str, Any] | None = None) -> float:
    """Return when a job that runs is expected to end: by its estimate and its pace, in its limit.

    Args:
        job: The job.
        now: Seconds since the epoch.
        progress: As its runner last wrote it.
    """
    workers = job.workers or job.worker_demand
    elapsed = 0.0 if job.started_at is None else max(0.0, now - job.started_at)
    expected = expected_seconds(job, workers)
    rest = remaining_of_run(expected, elapsed, workers, Pace.of(progress), now)
    return now + max(_SOONEST_SECONDS, min(rest, job.timeout_minutes * 60 - elapsed))


def knows_end(job: Job, progress: Mapping[str, Any] | None) -> bool:
    """Return whether the end of a job can be told: it has a history, or tests have finished."""
    return job.has_history or bool((progress or {}).get("finished"))


def to_running(
    jobs: Iterable[Job], now: float, progress: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Running]:
    """Return what running jobs, and those about to run, have of the machine.

    Args:
        jobs: The jobs.
        now: Seconds since the epoch.
        progress: By the id of a job, as its runner last wrote it.
    """
    running = []
    for job in jobs:
        workers = job.workers or job.worker_demand
        own = (progress or {}).get(job.job_id)
        running.append(
            Running(
                job.job_id,
                workers,
                ends_at=expected_end(job, now, own),
                memory=expected_memory(job, workers),
                is_predictable=knows_end(job, own),
            )
        )
    return running


def when_started(job: Job, workers: int, now: float) -> Running:
    """Return what a job has of the machine that starts now, with so many workers."""
    ends_at = now + min(expected_seconds(job, workers), job.timeout_minutes * 60)
    return Running(job.job_id, workers, ends_at, expected_memory(job, workers))
