"""When the queued jobs will start, and why they wait."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from pytest_valor_schedule.config.settings import aging_seconds
from pytest_valor_schedule.model.job import Job, JobStatus
from pytest_valor_schedule.queue import policy, slots
from pytest_valor_schedule.queue.policy import Running
from pytest_valor_schedule.queue.resources import Capacity, capacity
from pytest_valor_schedule.queue.store import JobStore


@dataclasses.dataclass(frozen=True, slots=True)
class QueuePosition:
    """Where a scheduled job stands.

    Attributes:
        position: In the queue, from 1.
        reason: Why it waits, or None if it need not.
        starts_at: When it is expected to start, in seconds since the epoch; None if not known,
            as where of a job before it nothing is known but a guess.
    """

    position: int
    reason: str | None
    starts_at: float | None


def places(
    store: JobStore, now: float, wanted: Iterable[str] | None = None
) -> dict[str, QueuePosition]:
    """Return where scheduled jobs stand, by their ids.

    Args:
        store: The queue.
        now: Seconds since the epoch.
        wanted: The ids of those that are asked for; None for all.
    """
    queued, total = store.queue(), slots.total_or_cpus(store.home)
    aging = aging_seconds(store.home)
    ordered = policy.in_order(queued, aging)
    left = capacity(store, total, store.jobs(JobStatus.RUNNING), now)
    blocked = _why_nobody_starts(store)
    able = [] if blocked else [job for job in queued if not job.held]
    starts = policy.forecast(able, left.running, total, now, aging, left.memory)
    starting = {each.job_id for each in left.running}  # their runners have slots already
    found, ahead = {}, 0
    asked = {job.job_id for job in queued} if wanted is None else set(wanted)
    known = all(each.known for each in left.running)
    for position, job in enumerate(ordered, 1):
        starts_at = starts.get(job.job_id)
        why = blocked or _why_held(job)
        starts_now = job.job_id in starting or (starts_at is not None and starts_at <= now)
        if why is None and not starts_now and job.job_id in asked:
            why = reason(job, ahead, left, now)
        if job.job_id in asked:
            found[job.job_id] = QueuePosition(
                position, why, starts_at if known or starts_now else None
            )
        ahead += not job.held
        known = known and (job.held or job.has_history)
    return found


def place_of(store: JobStore, job: Job, now: float) -> QueuePosition:
    """Return where a scheduled job stands; the first, if it has just been started."""
    return places(store, now, [job.job_id]).get(job.job_id, QueuePosition(1, None, now))


def _why_nobody_starts(store: JobStore) -> str | None:
    if store.home.pause_marker.exists():
        return "waits for `valor-schedule resume`, because the queue is paused"
    if store.home.is_full():
        return f"waits for room on the disk of {store.home.root}"
    return None


def _why_held(job: Job) -> str | None:
    if not job.held:
        return None
    return f"waits for `valor-schedule release {job.job_id}`, because it is held"


def reason(job: Job, ahead: int, left: Capacity, now: float) -> str | None:
    """Return why a job waits, for people; None if it can start.

    Args:
        job: The job.
        ahead: How many queued jobs come before it.
        left: The machine.
        now: Seconds since the epoch.
    """
    short = _what_is_short(job, left)
    ahead_of_it = [f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead of it"] if ahead else []
    parts = short + ahead_of_it
    if not parts:
        return None
    text = "waits for " + " and ".join(parts)
    return f"{text}; {_next_end(left.running, now)}" if short else text


def _what_is_short(job: Job, left: Capacity) -> list[str]:
    free = left.total - sum(each.slots for each in left.running)
    need = policy.needs(job, left.total)
    memory = policy.expected_memory(job, need)
    parts = []
    if need > free:
        noun = "worker slot" if need == 1 else "worker slots"
        parts.append(f"{need} {noun}, {max(0, free)} of {left.total} free")
    if left.running and memory > left.memory:
        parts.append(f"{_gib(memory)} of memory, {_gib(max(0.0, left.memory))} free")
    return parts


def _next_end(running: Iterable[Running], now: float) -> str:
    first = min(running, key=lambda each: each.ends_at)
    if first.name:
        return f"{first.name} has some"
    if not first.known:
        return f"{first.job_id} has some, and has not run before"
    return f"{first.job_id} ends in about {max(1, math.ceil(first.ends_at - now))} s"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
