"""When the queued jobs will start, and why they wait."""

from __future__ import annotations

import dataclasses

from pytest_valor_schedule import policy, slots
from pytest_valor_schedule.job import Job, JobStatus
from pytest_valor_schedule.settings import aging_seconds
from pytest_valor_schedule.store import JobStore


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a scheduled job stands.

    Attributes:
        position: In the queue, from 1.
        reason: Why it waits, or None if it need not.
        starts_at: When it is expected to start, in seconds since the epoch; None if not known.
    """

    position: int
    reason: str | None
    starts_at: float | None


def places(store: JobStore, now: float) -> dict[str, Place]:
    """Return where each scheduled job stands, by its id.

    Args:
        store: The queue.
        now: Seconds since the epoch.
    """
    queued, total = store.queue(), slots.total_or_cpus(store.home)
    aging = aging_seconds(store.home)
    ordered = policy.in_order(queued, aging)
    running = policy.occupied(store.jobs(JobStatus.RUNNING), now)
    blocked = _why_nobody_starts(store)
    able = [] if blocked else [job for job in queued if not job.held]
    starts = policy.forecast(able, running, total, now, aging)
    found, ahead = {}, 0
    for position, job in enumerate(ordered, 1):
        starts_at = starts.get(job.job_id)
        why = blocked or _why_held(job)
        if why is None and (starts_at is None or starts_at > now):
            why = policy.reason(job, ahead, running, total, now)
        found[job.job_id] = Place(position, why, starts_at)
        ahead += not job.held
    return found


def place_of(store: JobStore, job: Job, now: float) -> Place:
    """Return where a scheduled job stands; the first, if it has just been started."""
    return places(store, now).get(job.job_id, Place(1, None, now))


def _why_nobody_starts(store: JobStore) -> str | None:
    if store.home.paused.exists():
        return "waits for `valor-schedule resume`, because the queue is paused"
    if store.home.is_full():
        return f"waits for room on the disk of {store.home.root}"
    return None


def _why_held(job: Job) -> str | None:
    if not job.held:
        return None
    return f"waits for `valor-schedule release {job.job_id}`, because it is held"
