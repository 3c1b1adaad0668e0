"""Say how jobs stand, what became of their tests, and what they printed."""

from __future__ import annotations

from typing import cast

from pytest_valor_schedule._util import files
from pytest_valor_schedule.client import job_answers
from pytest_valor_schedule.client.endpoint import (
    Response,
    errors_as_answers,
    open_queue,
    require_ended,
)
from pytest_valor_schedule.client.responses import (
    JobListResponse,
    JobResultsResponse,
    JobStatusResponse,
)
from pytest_valor_schedule.model.run_options import check_limit, check_status_filter
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.record.output import without_controls


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
    return cast(JobStatusResponse, job_answers.job_status(job_id, results=results))


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
    return cast(JobListResponse, job_answers.job_list(status, most))


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
    return cast(JobResultsResponse, job_answers.job_results(job_id))


@errors_as_answers
def get_record(job_id: str) -> Response:
    """Return the whole record of a job that has ended: what its file holds.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.

    Returns:
        The record, see `get_job_status`; or `error`, with `status` where the job has not ended.
    """
    with open_queue() as store:
        return dict(job_records.record_of(store, require_ended(store.find(job_id))))


@errors_as_answers
def read_output(job_id: str, *, as_printed: bool = False) -> Response:
    """Return what a job's pytest has printed so far.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        as_printed: With what steers a terminal, such as colours; else it is left out.

    Returns:
        `job_id`, `status` and `output`; or `error`.
    """
    with open_queue() as store:
        job = store.find(job_id)
    try:
        text = files.read(store.home.output(job.job_id)).decode(errors="replace")
    except OSError:  # there is none yet, or none any more
        text = ""
    shown = text if as_printed else without_controls(text)
    return {"job_id": job.job_id, "status": str(job.status), "output": shown}
