"""Cancel, hold, release and reorder jobs, and pause the queue.

What only a job needs that has yet to end is imported there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pytest_valor_schedule.client.endpoint import (
    errors_as_answers,
    open_index,
    open_queue,
    store_over,
)
from pytest_valor_schedule.client.responses import (
    JobChangeResponse,
    PriorityName,
    QueueStateResponse,
)
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import JobStatusError, StoreError
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.queue import wakeup

if TYPE_CHECKING:
    from pytest_valor_schedule.model.job import Job
    from pytest_valor_schedule.queue.store import JobStore

_CANCEL_PATIENCE_SECONDS = 30.0


@errors_as_answers
def cancel_job(job_id: str) -> JobChangeResponse:
    """Take a job out of the queue, or end it if it runs; its partial results are kept.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        `job_id` and `status` ("cancelled") once no process of the job is left; or `error`, with
        `status` where the job has ended already.
    """
    with open_index() as index:
        job_id, ended = index.find_ended(job_id)
        if ended is not None:
            raise _already_ended(job_id, ended["status"], ended["outcome"])
        store = store_over(index)
        job = _cancel(store, store.get(job_id))
    return cast(JobChangeResponse, {"job_id": job.job_id, "status": str(job.status)})


@errors_as_answers
def hold_job(job_id: str) -> JobChangeResponse:
    """Keep a job that waits from starting, until it is released.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        `job_id`, `status` ("scheduled") and `held` (True); or `error`, with `status` where the
        job does not wait any more.
    """
    return _change_waiting(job_id, held=True)


@errors_as_answers
def release_job(job_id: str) -> JobChangeResponse:
    """Let a held job start when its turn comes; see `hold_job`."""
    return _change_waiting(job_id, held=None)


@errors_as_answers
def set_priority(job_id: str, priority: PriorityName) -> JobChangeResponse:
    """Change the priority of a job that waits.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        priority: "low", "normal" or "high".

    Returns:
        `job_id`, `status`, `held` and `priority`; or `error`.
    """
    from pytest_valor_schedule.model.run_options import check_priority

    return _change_waiting(job_id, priority=check_priority(priority))


@errors_as_answers
def pause_queue() -> QueueStateResponse:
    """Let no further job start, whoever asks, until `resume_queue`; what runs goes on.

    Returns:
        `paused` (True); or `error`.
    """
    with open_queue() as store:
        _change_pause(store.home, lambda: store.home.pause_marker.touch(mode=0o600))
    return {"paused": True}


@errors_as_answers
def resume_queue() -> QueueStateResponse:
    """Let jobs start again; see `pause_queue`."""
    home = Home.find(os.environ)
    _change_pause(home, lambda: home.pause_marker.unlink(missing_ok=True))
    with open_queue():
        wakeup.wake(home.wakeup_pipe)
    return {"paused": False}


def _cancel(store: JobStore, job: Job) -> Job:
    """Take a job out of the queue, or end it if it runs; return it as cancelled.

    Raises:
        JobStatusError: if it has ended already, or does not end in time.
    """
    if job.status is JobStatus.SCHEDULED:
        from pytest_valor_schedule.daemon import job_end
        from pytest_valor_schedule.daemon.job_end import JobEnd

        text = "Cancelled on request before it started."
        end = JobEnd(completed_at=time.time(), outcome=Outcome.CANCELLED, explanation=text)
        job = job_end.complete(store, job, end) or store.get(job.job_id)
        wakeup.wake(store.home.wakeup_pipe)
    if job.status is JobStatus.RUNNING:
        job = _cancel_running(store, job)
    if job.status is JobStatus.COMPLETED:
        raise _already_ended(job.job_id, job.status, job.outcome)
    return job


def _already_ended(job_id: str, status: str, outcome: str | None) -> JobStatusError:
    text = f"Job {job_id} has ended already ({outcome}); nothing is left to cancel."
    return JobStatusError(text, status=status)


def _cancel_running(store: JobStore, job: Job) -> Job:
    try:
        store.request_cancel(job.job_id)
    except StoreError:
        if not store.home.is_full():
            raise
        # It may be what fills the disk, where an empty file finds its place all the same.
        store.home.cancel_marker(job.job_id).touch(mode=0o600)
    from pytest_valor_schedule.client.wait import LOOK_AFTER_SECONDS, wait_until_ended

    deadline = time.monotonic() + _CANCEL_PATIENCE_SECONDS
    while not (after := wait_until_ended(store, job.job_id, LOOK_AFTER_SECONDS)).status.is_final:
        _refuse_if_unrecorded(store.home, after)
        if time.monotonic() >= deadline:
            raise JobStatusError(
                f"Job {job.job_id} was told to end but has not yet; ask for its status again.",
                status=after.status,
            )
    return after


def _refuse_if_unrecorded(home: Home, job: Job) -> None:
    """Raise JobStatusError if a job has no process any more, and waits for room for its record."""
    from pytest_valor_schedule.process.kill import pids_with_variable

    if home.is_full() and all(
        value != job.job_id for _, value in pids_with_variable(JOB_ID_VARIABLE)
    ):
        raise JobStatusError(
            f"No process of job {job.job_id} is left, but the disk of {home.root} is full, and its "
            "end cannot be recorded; make room, for example with `valor-schedule prune`, and it is "
            "cancelled.",
            status=job.status,
        )


def _change_waiting(job_id: str, **changes: Any) -> JobChangeResponse:
    """Change a job that has not started, in the queue and in its record.

    Raises:
        JobStatusError: if it does not wait any more.
    """
    with open_queue() as store:
        job_id = store.find(job_id).job_id
        job = store.change(job_id, JobStatus.SCHEDULED, **changes)
        if job is None:
            status = store.get(job_id).status
            raise JobStatusError(
                f"Job {job_id} does not wait any more: it is {status}; only a scheduled job can be "
                "held, released, or given another priority.",
                status=status,
            )
        store.publish_if_scheduled(job_id)
        service.call(store.home)
    fields = {"job_id": job_id, "status": str(job.status), "held": bool(job.held)}
    return cast(JobChangeResponse, {**fields, "priority": str(job.priority)})


def _change_pause(home: Home, action: Callable[[], None]) -> None:
    try:
        home.make()
        action()
    except OSError as error:
        raise StoreError(f"{home.pause_marker} cannot be changed ({error.strerror}).") from error
