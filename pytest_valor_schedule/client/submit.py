"""Put a collected run into the queue."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from sys import getfilesystemencoding
from typing import Any, NamedTuple

from pytest_valor_schedule.client import settings_check
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import notification, service
from pytest_valor_schedule.errors import InvalidRequestError, StoreError, retry_if_rebuilt
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.run_options import RunOptions, apply_changes
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.queue import forecast, job_estimates, slots
from pytest_valor_schedule.queue.estimate import Estimate
from pytest_valor_schedule.queue.forecast import QueuePosition
from pytest_valor_schedule.queue.history import History
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.text import render


class SessionClaim(NamedTuple):
    """Names the session that waits for the turn of a job.

    Attributes:
        job_id: The id that it has chosen for the job.
        claim: By which others know whether its runner lives; None if it does not wait.
    """

    job_id: str
    claim: str | None


@retry_if_rebuilt
def submit(
    home: Home,
    request: RunRequest,
    options: RunOptions,
    collection: Collection,
    session: SessionClaim | None = None,
) -> ScheduleResponse:
    """Put a run into the queue and make sure that a dispatcher serves it.

    Args:
        home: That of the queue.
        request: What shall run, and where.
        options: How it shall be executed.
        collection: Its tests.
        session: Who has collected them and waits for the turn of the job, if anybody does.

    Raises:
        InvalidRequestError: if pytest-xdist cannot run it.
        StoreError: if the queue cannot be used; nothing is scheduled then.
    """
    for path in (request.cwd, collection.rootdir):
        _check_sendable(path)
    with JobStore(home) as store:
        slots.total(home)  # a wrong setting is said now
        job = _new_job(request, options, collection)
        estimate = job_estimates.estimate(store, History(store.database), job, collection.nodeids)
        job = dataclasses.replace(job, **job_estimates.fields_of(estimate))
        if session is not None:
            job = dataclasses.replace(job, job_id=session.job_id)
        claim = session and session.claim
        while not store.add(job, collection.nodeids, _environment(request, options), claim):
            if session is not None:
                raise StoreError(f"The id of job {job.job_id} is taken.")
            job = dataclasses.replace(job, job_id=new_id(job.created_at))
        place = forecast.queue_position(store, job, time.time())
        workers = job_estimates.most_workers(store, job.worker_demand, job.test_count)
    service.call(home, request.environment)
    answer = receipt(job, collection.nodeids, estimate, place, workers)
    warnings = _warnings(home, request, options)
    return {**answer, "warnings": warnings} if warnings else answer


def put_into_queue(
    request: RunRequest,
    options: Mapping[str, Any],
    collection: Collection,
    claim: SessionClaim | None = None,
) -> ScheduleResponse:
    """Put a run that was collected into the queue.

    Args:
        request: What shall run, and where.
        options: The fields of `RunOptions` that are set; the settings of the project say the rest.
        collection: Its tests.
        claim: Who has collected them and waits for the turn of the job, if anybody does.
    """
    checked = RunOptions.parse(**{**collection.request, **options})
    wishes = apply_changes(checked, collection.changes)
    return submit(Home.find(os.environ), request, wishes, collection, claim)


def confirming(collection: Collection, tries: int | None) -> Collection:
    """Return a collection whose failures are confirmed as often, where that is said."""
    if tries is None:
        return collection
    return dataclasses.replace(collection, confirm_failures=tries)


def receipt(
    job: Job, nodeids: Sequence[str], estimate: Estimate, place: QueuePosition, workers: int
) -> ScheduleResponse:
    """Return what the submitter of a job is told.

    Args:
        job: The job as it was put into the queue.
        nodeids: Its tests.
        estimate: How long it is expected to run.
        place: Where it stands in the queue.
        workers: How many it will have at most.
    """
    return {
        "job_id": job.job_id,
        "status": "scheduled",
        "tests_to_run": list(nodeids),
        "test_count": job.test_count,
        "estimated_duration": estimate.duration,
        "timeout_minutes": job.timeout_minutes,
        "workers": workers,
        "estimated_from": estimate.basis,
        "estimate": estimate.text,
        "place": render.place_line(place, job.created_at),
    }


def _check_sendable(path: str) -> None:
    """Raise InvalidRequestError for a path that execnet would end the run over."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"pytest-xdist cannot send the path {path!r}, which is no {getfilesystemencoding()} "
            "text; rename the folder, or set a locale of UTF-8 such as LC_ALL=C.UTF-8."
        ) from None


def _environment(request: RunRequest, options: RunOptions) -> Mapping[str, str]:
    """Return the job's environment, and in it the address that no record shows."""
    if options.notification_chat_id is None:
        return request.environment
    return {**request.environment, notification.ADDRESS_VARIABLE: options.notification_chat_id}


def _warnings(home: Home, request: RunRequest, options: RunOptions) -> list[str]:
    warnings = list(settings_check.unknown_settings(home, request.environment))
    if options.notification_chat_id is not None:
        from pytest_valor_schedule.daemon import notifier  # here, because few ask for it

        problem = notifier.problem(home, options.notification_chat_id, request.environment)
        warnings += [] if problem is None else [problem]
    return warnings


def _new_job(request: RunRequest, options: RunOptions, collection: Collection) -> Job:
    """Return a job that has not been estimated yet."""
    now = time.time()
    return Job(
        job_id=new_id(now),
        specification=request.specification,
        launcher=request.launcher,
        arguments=request.arguments,
        cwd=request.cwd,
        rootdir=collection.rootdir,
        interpreter=collection.interpreter,
        priority=options.priority,
        max_workers=min(options.max_workers, collection.most_workers or options.max_workers),
        timeout_minutes=options.timeout_minutes,
        notification_chat_id=notification.shortened(options.notification_chat_id),
        test_count=len(collection.nodeids),
        estimated_seconds=0.0,
        created_at=now,
        umask=request.umask,
        chosen_by_cache=collection.chosen_by_cache or None,
        test_timeout_seconds=collection.test_timeout_seconds,
        stall_seconds=collection.stall_seconds,
        log_mb=collection.log_mb,
        order=collection.order,
        confirm_failures=collection.confirm_failures,
        flaky_passes=collection.flaky_passes or None,
        fork_workers=None if collection.fork_workers else False,
        random_seed=collection.random_seed,
        rerun_of=request.rerun_of,
        junit_path=collection.junit_path,
        measures_coverage=collection.measures_coverage or None,
        shows_workers=collection.shows_workers or None,
        deselected=collection.deselected or None,
        collection_lines=collection.collection_lines or None,
        terminal_size=collection.terminal_size,
    )


def new_id(now: float) -> str:
    """Return a job id that sorts by time to about a millisecond, such as 20261122-203015-4f9a2c.

    Args:
        now: Seconds since the epoch.
    """
    # The last part is short enough to be said: 10 bits of the second, 14 bits of chance.
    tail = int(now % 1 * 1024) << 14 | secrets.randbits(14)
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{tail:06x}"
