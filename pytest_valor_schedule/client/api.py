"""The functions for programs: plain values in, plain JSON-serialisable dicts out.

A bad request never raises: it returns `{"error": "<what is wrong and what to do>"}`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from pytest_valor_schedule._util import clock, files
from pytest_valor_schedule.client import job_control
from pytest_valor_schedule.client.error_response import Response, errors_as_answers
from pytest_valor_schedule.client.responses import (
    JobChangeResponse,
    JobListResponse,
    JobResultsResponse,
    JobStatusResponse,
    PriorityName,
    ScheduleResponse,
)
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import retry_if_rebuilt
from pytest_valor_schedule.model.job import Job, JobStatus
from pytest_valor_schedule.model.run_options import (
    RunOptions,
    apply_changes,
    check_amount,
    check_confirm_failures,
    check_limit,
    check_status_filter,
)
from pytest_valor_schedule.queue import forecast, policy
from pytest_valor_schedule.queue.forecast import QueuePosition

if TYPE_CHECKING:
    from pytest_valor_schedule.queue.store import JobStore


@errors_as_answers
def schedule_tests(
    test_specification: str,
    notification_chat_id: str | None = None,
    max_workers: int = 2,
    timeout_minutes: float = 10,
    priority: PriorityName = "normal",
    *,
    cwd: str | os.PathLike[str] | None = None,
    confirm_failures: int | None = None,
) -> ScheduleResponse:
    """Collect the tests of a command and put them into the queue.

    Args:
        test_specification: A command as a person would type it, such as "pytest tests/ -v" or
            "uv run pytest -k fast", or bare pytest arguments. It is never given to a shell.
        notification_chat_id: Who wants to be told of the end.
        max_workers: The most pytest-xdist workers that the job may have, 1 or more.
        timeout_minutes: Minutes after its start at which the job is ended; fractions are allowed.
        priority: "low", "normal" or "high".
        cwd: The working directory; the current one if None.
        confirm_failures: How often what failed is run again at the end, alone; None for what the
            project says.

    Returns:
        `job_id`, `status` ("scheduled"), `tests_to_run` (node ids), `test_count`,
        `estimated_duration` (text for people: "1m 30s", for tests without history a range such as
        "10s to 2m", or "not known yet"), `timeout_minutes`, and `warnings` if there are any; or
        `error`, and with it `exit_code` and `output` where pytest could not collect.
    """
    # Here, because a look at the list needs none of it.
    from pytest_valor_schedule.client.collect import collect
    from pytest_valor_schedule.client.submit import submit
    from pytest_valor_schedule.model.run_request import parse_request

    request = RunOptions.parse(priority, max_workers, timeout_minutes, notification_chat_id)
    order = parse_request(test_specification, cwd)
    found = collect(
        order.launcher,
        order.arguments,
        order.cwd,
        order.environment,
        request.timeout_minutes * 60,
        dataclasses.asdict(request),
    )
    if confirm_failures is not None:
        tries = check_confirm_failures(confirm_failures)
        found = dataclasses.replace(found, confirm_failures=tries)
    receipt = submit(Home.find(os.environ), order, apply_changes(request, found.changes), found)
    return receipt.answer(found.nodeids)


def _published(
    store: JobStore, job: Job, wanted: Callable[[Response], bool] | None = None
) -> Response:
    """Return the record of a job that has ended."""
    from pytest_valor_schedule.queue import job_records

    return job_records.published(store, job, wanted)


@errors_as_answers
def get_job_status(job_id: str, *, results: bool = True) -> JobStatusResponse:
    """Return how a job stands.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        results: Whether those of a job that has ended are wanted, of which there may be many.

    Returns:
        `job_id`, `status`, `created_at` and the other fields of the job, and as they come to
        exist `started_at`, `completed_at`, `outcome`, `progress` (`finished`, `failed` and
        `total` tests, `memory_mb`, `running`: the `worker`, `nodeid`, `started_at` and
        `expected_seconds` of each test that runs, and `queued_seconds`: what the others take),
        `estimated_end`, `queue_position` (from 1), `reason` (why it waits), `estimated_start`
        (both if they are known), and when it has ended `results` and `summary`; or `error`.
    """
    with job_control.open_queue() as store:
        with store.database.snapshot():
            job = store.find(job_id)
            (answer,) = _rows(store, [job])
        if job.status.is_final and results:
            answer["results"] = _published(store, job)["results"]
    return cast(JobStatusResponse, answer)


def _waiting(place: QueuePosition | None) -> Response:
    if place is None:
        return {}
    fields = {
        "queue_position": place.position,
        "reason": place.reason,
        "estimated_start": clock.to_text(place.starts_at),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _public(job: Job) -> Response:
    hidden = ("launcher", "arguments")
    return {name: value for name, value in job.to_json().items() if name not in hidden}


@errors_as_answers
def list_jobs(status_filter: str | None = None, limit: int = 10) -> JobListResponse:
    """Return the newest jobs.

    Args:
        status_filter: "scheduled", "running", "completed" or "cancelled"; None for all.
        limit: The most jobs to return, 0 or more.

    Returns:
        `jobs` (newest first, each as by `get_job_status` without its results), `total` (how many
        jobs match) and `filtered_by`; or `error`.
    """
    status, most = check_status_filter(status_filter), check_limit(limit)
    with job_control.open_queue() as store, store.database.snapshot():
        rows, total = _rows(store, store.jobs(status, most)), store.count(status)
    answer = {"jobs": rows, "total": total, "filtered_by": status_filter}
    return cast(JobListResponse, answer)


@errors_as_answers
def list_queue(most: int) -> Response:
    """Return all that runs or waits, however many there are, and the newest that have ended.

    Args:
        most: How many of each ended status.

    Returns:
        `active` and `ended`, each job as `list_jobs` returns it: all of one moment, so that no
        job is there twice, and none is left out; or `error`.
    """
    with job_control.open_queue() as store, store.database.snapshot():
        active = [*store.jobs(JobStatus.SCHEDULED), *store.jobs(JobStatus.RUNNING)]
        ended = [*store.jobs(JobStatus.COMPLETED, most), *store.jobs(JobStatus.CANCELLED, most)]
        return {"active": _rows(store, active), "ended": list(map(_public, ended))}


def _rows(store: JobStore, jobs: Sequence[Job]) -> list[Response]:
    """Return jobs as answers; inside a snapshot, for what they are made of is read one by one."""
    now = time.time()
    waiting = [job.job_id for job in jobs if job.status is JobStatus.SCHEDULED]
    places = forecast.places(store, now, waiting) if waiting else {}
    return [
        _public(job) | _waiting(places.get(job.job_id)) | _running(store, job, now) for job in jobs
    ]


def _running(store: JobStore, job: Job, now: float) -> Response:
    if job.status is not JobStatus.RUNNING:
        return {}
    progress = store.progress(job.job_id)
    answer: Response = {"progress": progress} if progress else {}
    if policy.knows_end(job, progress):
        answer["estimated_end"] = clock.to_text(policy.expected_end(job, now, progress))
    return answer


@errors_as_answers
def cancel_job(job_id: str) -> JobChangeResponse:
    """Take a job out of the queue, or end it if it runs; its partial results are kept.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        `job_id` and `status` ("cancelled") once no process of the job is left; or `error`, with
        `status` where the job has ended already.
    """
    with job_control.open_queue() as store:
        job = job_control.cancel(store, store.find(job_id))
    return cast(JobChangeResponse, {"job_id": job.job_id, "status": str(job.status)})


@errors_as_answers
def get_job_results(job_id: str) -> JobResultsResponse:
    """Return what became of the tests of a job that has ended.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        `job_id`, `results` (for each test `nodeid`, `outcome`, `duration_seconds`, `started_at`,
        `worker`, and for what did not pass `phase`, `message`, `longrepr`, `sections`,
        `location`), `summary`, `outcome`, `started_at`, `completed_at`, `exit_code`,
        `explanation` and `collection_errors` if there are any; or `error`, with `status` where
        the job has not ended.
    """
    return cast(JobResultsResponse, _results(job_id, None))


@errors_as_answers
def get_some_results(job_id: str, wanted: Callable[[Response], bool]) -> Response:
    """Return what `get_job_results` returns, with only those results that are wanted."""
    return _results(job_id, wanted)


def _results(job_id: str, wanted: Callable[[Response], bool] | None) -> Response:
    with job_control.open_queue() as store:
        document = _published(store, job_control.ended(store.find(job_id)), wanted)
    names = ("exit_code", "explanation", "collection_errors")
    return {
        "job_id": document.get("job_id"),
        "outcome": document.get("outcome"),
        "started_at": document.get("started_at"),
        "completed_at": document.get("completed_at"),
        "summary": document.get("summary"),
        "results": document.get("results"),
        **{name: document[name] for name in names if document.get(name) is not None},
    }


@errors_as_answers
def get_record(job_id: str) -> Response:
    """Return the whole record of a job that has ended: what its file holds.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        The record, see `get_job_status`; or `error`, with `status` where the job has not ended.
    """
    with job_control.open_queue() as store:
        return dict(_published(store, job_control.ended(store.find(job_id))))


@errors_as_answers
def wait_for_job(
    job_id: str, timeout_seconds: float | None = None, *, results: bool = True
) -> JobStatusResponse:
    """Wait until a job has ended.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        timeout_seconds: How long to wait at most; None to wait until the end.
        results: As for `get_job_status`.

    Returns:
        What `get_job_status` returns, when the job has ended or the time is over.
    """
    seconds = math.inf
    if timeout_seconds is not None:
        needed = "a number of seconds of 0 or more, or None"
        seconds = check_amount(timeout_seconds, "timeout_seconds", needed)
    with job_control.open_queue() as store:
        full_id = store.find(job_id).job_id
        job_control.wait(store, full_id, seconds)
    return get_job_status(full_id, results=results)


@errors_as_answers
def read_output(job_id: str, *, as_printed: bool = False) -> Response:
    """Return what a job's pytest has printed so far.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        as_printed: With what steers a terminal, such as colours; else it is left out.

    Returns:
        `job_id`, `status` and `output`; or `error`.
    """
    from pytest_valor_schedule.record.output import without_controls

    with job_control.open_queue() as store:
        job = store.find(job_id)
    try:
        text = files.read(store.home.output(job.job_id)).decode(errors="replace")
    except OSError:  # there is none yet, or none any more
        text = ""
    shown = text if as_printed else without_controls(text)
    return {"job_id": job.job_id, "status": str(job.status), "output": shown}


@retry_if_rebuilt
def newest_job_here() -> str:
    """Return the id of the newest job that was scheduled from the current working directory.

    Raises:
        UnknownJobError: if there is none.
    """
    from pytest_valor_schedule.model.run_request import existing_folder

    with job_control.open_queue() as store:
        return store.newest_from(str(existing_folder(None)))
