"""Forecast when the queued jobs start, and tell why they wait."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from pytest_valor_schedule.config.settings import aging_seconds
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.queue import demand, policy, slots
from pytest_valor_schedule.queue.demand import Running
from pytest_valor_schedule.queue.resources import Capacity, capacity
from pytest_valor_schedule.queue.store import JobStore

_HELD = "waits for `valor-schedule release {}`, because it is held"


@dataclasses.dataclass(frozen=True, slots=True)
class QueuePosition:
    """Where a scheduled job stands.

    Attributes:
        position: In the queue, from 1.
        reason: Why it waits, or None if it need not.
        starts_at: When it is expected to start, in seconds since the epoch; None where that
            is not known, as where a job before it has nothing but a guess.
    """

    position: int
    reason: str | None
    starts_at: float | None


def queue_positions(
    store: JobStore, now: float, job_ids: Iterable[str] | None = None
) -> dict[str, QueuePosition]:
    """Return where scheduled jobs stand, those of some ids or else all, by their ids."""
    queue, total = store.queue(), slots.total_or_cpus(store.home)
    aging = aging_seconds(store.home)
    machine = capacity(store, total, store.jobs(JobStatus.RUNNING), now)
    blocked = _why_nobody_starts(store)
    able = [] if blocked else [job for job in queue if not job.held]
    starts = policy.forecast(able, machine.running, total, now, aging, machine.memory)
    starting = {each.job_id for each in machine.running}  # their runners have slots already
    ids = {job.job_id for job in queue} if job_ids is None else set(job_ids)
    positions, ahead = dict[str, QueuePosition](), 0
    is_certain = all(each.is_predictable for each in machine.running)
    for number, job in enumerate(policy.in_order(queue, aging), 1):
        if job.job_id in ids:
            starts_at = starts.get(job.job_id)
            starts_now = job.job_id in starting or (starts_at is not None and starts_at <= now)
            why = blocked or (_HELD.format(job.job_id) if job.held else None)
            if why is None and not starts_now:
                why = reason(job, ahead, machine, now)
            expected = starts_at if is_certain or starts_now else None
            positions[job.job_id] = QueuePosition(number, why, expected)
        ahead += not job.held
        is_certain = is_certain and (job.held or job.has_history)
    return positions


def queue_position(store: JobStore, job: Job, now: float) -> QueuePosition:
    """Return where a scheduled job stands; the first, if it has just been started."""
    return queue_positions(store, now, [job.job_id]).get(job.job_id, QueuePosition(1, None, now))


def _why_nobody_starts(store: JobStore) -> str | None:
    if store.home.pause_marker.exists():
        return "waits for `valor-schedule resume`, because the queue is paused"
    if store.home.is_full():
        return f"waits for room on the disk of {store.home.root}"
    return None


def reason(job: Job, ahead: int, machine: Capacity, now: float) -> str | None:
    """Return why a job waits with so many others ahead of it, for people; None if it can start."""
    short = _what_is_short(job, machine)
    ahead_of_it = [f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead of it"] if ahead else []
    parts = short + ahead_of_it
    if not parts:
        return None
    text = "waits for " + " and ".join(parts)
    return f"{text}; {_next_end(machine.running, now)}" if short else text


def _what_is_short(job: Job, machine: Capacity) -> list[str]:
    free = machine.total - sum(each.slots for each in machine.running)
    need = demand.needs(job, machine.total)
    memory = demand.expected_memory(job, need)
    parts = []
    if need > free:
        noun = "worker slot" if need == 1 else "worker slots"
        parts.append(f"{need} {noun}, {max(0, free)} of {machine.total} free")
    if machine.running and memory > machine.memory:
        parts.append(f"{_gib(memory)} of memory, {_gib(max(0.0, machine.memory))} free")
    return parts


def _next_end(running: Iterable[Running], now: float) -> str:
    first = min(running, key=lambda each: each.ends_at)
    if first.name:
        return f"{first.name} has some"
    if not first.is_predictable:
        return f"{first.job_id} has some, and has not run before"
    return f"{first.job_id} ends in about {max(1, math.ceil(first.ends_at - now))} s"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
