"""Waiting for the end of a job, and bringing it about."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_valor_schedule import bell, service
from pytest_valor_schedule.errors import JobStatusError, StoreError
from pytest_valor_schedule.home import Home
from pytest_valor_schedule.job import Job, JobStatus, Outcome
from pytest_valor_schedule.store import JobStore

_POLL_SECONDS = 0.05
_LOOK_AFTER_SECONDS = 1.0
_CANCEL_PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def open_queue() -> Iterator[JobStore]:
    """Give the queue, and make sure that somebody looks after whatever in it has not ended."""
    with JobStore(Home.find(os.environ)) as store:
        service.look_after(store)
        yield store


def ended(job: Job) -> Job:
    """Return a job that has ended, and raise JobStatusError for another."""
    if not job.status.ended:
        raise JobStatusError(
            f"Job {job.job_id} has not ended: it is {job.status}; wait for it, or cancel it.",
            status=job.status,
        )
    return job


def wait(store: JobStore, job_id: str, seconds: float) -> Job:
    """Return the job when it has ended or the time is over."""
    deadline = time.monotonic() + seconds
    look_after_at = 0.0
    while True:
        job = store.get(job_id)
        now = time.monotonic()
        if job.status.ended or now >= deadline:
            return job
        if now >= look_after_at:
            look_after_at = now + _LOOK_AFTER_SECONDS
            service.look_after(store)
            service.refuse_if_unserved(store, job)
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - now)))


def cancel(store: JobStore, job: Job) -> Job:
    """Take a job out of the queue, or end it if it runs; return it as cancelled.

    Raises:
        JobStatusError: if it has ended already, or does not end in time.
    """
    from pytest_valor_schedule import completion  # here, because a look needs none of it
    from pytest_valor_schedule.completion import Ending

    _refuse_if_ended(job)
    if job.status is JobStatus.SCHEDULED:
        text = "Cancelled on request before it started."
        ending = Ending(completed_at=time.time(), outcome=Outcome.CANCELLED, explanation=text)
        job = completion.complete(store, job, ending) or store.get(job.job_id)
        bell.ring(store.home.bell)
    if job.status is JobStatus.RUNNING:
        job = _cancel_running(store, job)
    if job.status is not JobStatus.CANCELLED:
        _refuse_if_ended(job)
    return job


def change_waiting(store: JobStore, job: Job, **changes: Any) -> Job:
    """Change a job that has not started, in the queue and in its record.

    Raises:
        JobStatusError: if it does not wait any more.
    """
    changed = store.change(job.job_id, JobStatus.SCHEDULED, **changes)
    if changed is None:
        now = store.get(job.job_id)
        raise JobStatusError(
            f"Job {job.job_id} does not wait any more: it is {now.status}; only a scheduled job "
            "can be held, released, or given another priority.",
            status=now.status,
        )
    store.publish_if_scheduled(job.job_id)
    return changed


def pause(home: Home) -> None:
    """Let no further job start."""
    _with_home(home, lambda: home.paused.touch(mode=0o600))


def resume(home: Home) -> None:
    """Let jobs start again."""
    _with_home(home, lambda: home.paused.unlink(missing_ok=True))


def _with_home(home: Home, action: Callable[[], None]) -> None:
    try:
        home.make()
        action()
    except OSError as error:
        raise StoreError(f"{home.paused} cannot be changed ({error.strerror}).") from error


def _refuse_if_ended(job: Job) -> None:
    if job.status.ended:
        raise JobStatusError(
            f"Job {job.job_id} has ended already ({job.outcome}); nothing is left to cancel.",
            status=job.status,
        )


def _cancel_running(store: JobStore, job: Job) -> Job:
    store.request_cancel(job.job_id)
    after = wait(store, job.job_id, _CANCEL_PATIENCE_SECONDS)
    if not after.status.ended:
        raise JobStatusError(
            f"Job {job.job_id} was told to end but has not yet; ask for its status again.",
            status=after.status,
        )
    return after
