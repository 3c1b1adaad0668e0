"""The functions for programs that change what waits in the queue."""

from __future__ import annotations

import os
from typing import Any, cast

from pytest_valor_schedule.client import job_control
from pytest_valor_schedule.client.error_response import errors_as_answers
from pytest_valor_schedule.client.responses import (
    JobChangeResponse,
    PriorityName,
    QueueStateResponse,
)
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.model.run_options import check_priority
from pytest_valor_schedule.queue import wakeup


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
    return _change_waiting(job_id, priority=check_priority(priority))


def _change_waiting(job_id: str, **changes: Any) -> JobChangeResponse:
    with job_control.open_queue() as store:
        job = job_control.change_waiting(store, store.find(job_id), **changes)
        service.call(store.home)
    fields = {"job_id": job.job_id, "status": str(job.status), "held": bool(job.held)}
    return cast(JobChangeResponse, {**fields, "priority": str(job.priority)})


@errors_as_answers
def pause_queue() -> QueueStateResponse:
    """Let no further job start, whoever asks, until `resume_queue`; what runs goes on.

    Returns:
        `paused` (True); or `error`.
    """
    with job_control.open_queue() as store:
        job_control.pause(store.home)
    return {"paused": True}


@errors_as_answers
def resume_queue() -> QueueStateResponse:
    """Let jobs start again; see `pause_queue`."""
    job_control.resume(Home.find(os.environ))
    with job_control.open_queue() as store:
        wakeup.wake(store.home.wakeup_pipe)
        return {"paused": False}
