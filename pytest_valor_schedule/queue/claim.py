"""Make a runner the one that runs a job, with its slots and by a claim in the queue."""

from __future__ import annotations

import os
import time

from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Holder, SlotLease
from pytest_valor_schedule.queue.store import JobStore

_SLOT_POLL_SECONDS = 0.02
_ALL_SLOTS_SECONDS = 2.0  # then one will do: a run by hand may have got the others


def take_slots(store: JobStore, job_id: str, attempt: int) -> SlotLease | None:
    """Wait for the slots that the dispatcher granted; None if the job is no longer to be run.

    Processes that are about to end can still have them.
    """
    deadline = time.monotonic() + _ALL_SLOTS_SECONDS
    while True:
        job = store.get(job_id)
        if job.status is not JobStatus.SCHEDULED or job.attempt != attempt:
            return None
        workers = job.workers or job.worker_demand
        least = workers if time.monotonic() < deadline else 1
        count = max(workers, slots.total_or_cpus(store.home))
        lease = slots.take(store.home, workers, count, Holder(job_id=job_id), least)
        if lease is not None:
            return lease
        time.sleep(_SLOT_POLL_SECONDS)


def own_claim() -> str | None:
    """Return the text by which others know that this process runs a job, and whether it lives."""
    identity = Identity.of(os.getpid())
    return identity.to_text() if identity else None


def claim(store: JobStore, job_id: str, attempt: int, lease: SlotLease) -> Job | None:
    """Make this process the one that runs a job; None if the job is no longer to be run by it."""
    return store.change(
        job_id,
        JobStatus.SCHEDULED,
        if_attempt=attempt,
        claim=own_claim(),
        status=JobStatus.RUNNING,
        started_at=time.time(),
        workers=len(lease.numbers),
        slots=lease.numbers,
    )
