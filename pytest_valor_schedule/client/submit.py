"""Handing a collected run over to the queue."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from sys import getfilesystemencoding

from pytest_valor_schedule.client import settings_check
from pytest_valor_schedule.client.collect import Collection
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import notification, service
from pytest_valor_schedule.errors import InvalidRequestError, retry_if_rebuilt
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.queue import estimation, forecast, slots
from pytest_valor_schedule.queue.forecast import QueuePosition
from pytest_valor_schedule.queue.history import Estimate, History
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.text import render


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the submitter is told.

    Attributes:
        job: The job as it was put into the queue.
        estimate: How long it is expected to run.
        place: Where it stands in the queue.
        workers: How many it will have at most.
        warnings: What will not be as it was asked for.
    """

    job: Job
    estimate: Estimate
    place: QueuePosition
    workers: int
    warnings: tuple[str, ...]

    def answer(self, nodeids: Sequence[str]) -> ScheduleResponse:
        """Return what `schedule_tests` returns."""
        job = self.job
        answer: ScheduleResponse = {
            "job_id": job.job_id,
            "status": "scheduled",
            "tests_to_run": list(nodeids),
            "test_count": job.test_count,
            "estimated_duration": self.estimate.duration,
            "timeout_minutes": job.timeout_minutes,
        }
        return {**answer, "warnings": list(self.warnings)} if self.warnings else answer

    def shown_answer(self, nodeids: Sequence[str] = ()) -> ScheduleResponse:
        """Return the same, and what a person is told besides."""
        return {
            **self.answer(nodeids),
            "workers": self.workers,
            "estimated_from": self.estimate.basis,
            "estimate": self.estimate.text,
            "place": render.place_line(self.place, self.job.created_at),
        }


@retry_if_rebuilt
def submit(home: Home, order: RunRequest, request: RunOptions, collection: Collection) -> Receipt:
    """Put a run into the queue and make sure that a dispatcher serves it.

    Raises:
        InvalidRequestError: if pytest-xdist cannot run it.
        StoreError: if the queue cannot be used; nothing is scheduled then.
    """
    for path in (order.cwd, collection.rootdir):
        _check_sendable(path)
    with JobStore(home) as store:
        slots.total(home)  # a wrong setting is said now
        job = _new_job(order, request, collection)
        estimate = estimation.estimate(store, History(store.database), job, collection.nodeids)
        job = dataclasses.replace(job, **estimation.fields_of(estimate))
        while not store.add(job, collection.nodeids, _environment(order, request)):
            job = dataclasses.replace(job, job_id=new_id(job.created_at))
        place = forecast.place_of(store, job, time.time())
        workers = estimation.most_workers(store, job.worker_demand, job.test_count)
    service.call(home, order.environment)
    warnings = _warnings(home, order, request)
    return Receipt(job=job, estimate=estimate, place=place, workers=workers, warnings=warnings)


def _check_sendable(path: str) -> None:
    """Raise InvalidRequestError for a path that execnet would end the run over."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"pytest-xdist cannot send the path {path!r}, which is no {getfilesystemencoding()} "
            "text; rename the folder, or set a locale of UTF-8 such as LC_ALL=C.UTF-8."
        ) from None


def _environment(order: RunRequest, request: RunOptions) -> Mapping[str, str]:
    """Return the job's environment, and in it the address that no record shows."""
    if request.notification_chat_id is None:
        return order.environment
    return {**order.environment, notification.ADDRESS_VARIABLE: request.notification_chat_id}


def _warnings(home: Home, order: RunRequest, request: RunOptions) -> tuple[str, ...]:
    found = list(settings_check.misspelt(home, order.environment))
    if request.notification_chat_id is not None:
        from pytest_valor_schedule.daemon import notifier  # here, because few ask for it

        problem = notifier.problem(home, request.notification_chat_id, order.environment)
        found += [] if problem is None else [problem]
    return tuple(found)


def _new_job(order: RunRequest, request: RunOptions, collection: Collection) -> Job:
    """Return a job that has not been estimated yet."""
    now = time.time()
    return Job(
        job_id=new_id(now),
        specification=order.specification,
        launcher=order.launcher,
        arguments=order.arguments,
        cwd=order.cwd,
        rootdir=collection.rootdir,
        interpreter=collection.interpreter,
        priority=request.priority,
        max_workers=min(request.max_workers, collection.most_workers or request.max_workers),
        timeout_minutes=request.timeout_minutes,
        notification_chat_id=notification.shortened(request.notification_chat_id),
        test_count=len(collection.nodeids),
        estimated_seconds=0.0,
        created_at=now,
        umask=order.umask,
        chosen_by_cache=collection.chosen_by_cache or None,
        test_timeout_seconds=collection.test_timeout_seconds,
        stall_seconds=collection.stall_seconds,
        log_mb=collection.log_mb,
        order=collection.order,
        confirm_failures=collection.confirm_failures,
        flaky_passes=collection.flaky_passes or None,
        fork_workers=None if collection.fork_workers else False,
        random_seed=collection.random_seed,
        rerun_of=order.rerun_of,
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
