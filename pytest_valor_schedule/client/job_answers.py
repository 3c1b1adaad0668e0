"""Say how jobs stand: of those that have ended what their rows say; the rest is in `live_jobs`."""

from __future__ import annotations

from collections.abc import Callable

from pytest_valor_schedule._util import files
from pytest_valor_schedule.client.endpoint import (
    Response,
    errors_as_answers,
    open_index,
    require_ended,
    store_over,
)
from pytest_valor_schedule.errors import retry_if_rebuilt
from pytest_valor_schedule.model.job_terms import JobStatus, ended_job
from pytest_valor_schedule.queue.job_index import JobIndex
from pytest_valor_schedule.record import record_file


@errors_as_answers
def job_status(job_id: str, *, results: bool = False) -> Response:
    """Return what `query.get_job_status` does."""
    with open_index() as index:
        with index.database.snapshot():
            job_id, answer = index.find_ended(job_id)
            if answer is None:
                from pytest_valor_schedule.client import live_jobs  # here, because it is the rest

                answer = live_jobs.job_status(index, job_id)
        if results and answer.get("outcome"):
            answer["results"] = _record(index, job_id)["results"]
    return answer


@errors_as_answers
def job_list(status: JobStatus | None, limit: int) -> Response:
    """Return what `query.list_jobs` does."""
    with open_index() as index, index.database.snapshot():
        rows = index.documents(status, limit)
        jobs = [ended_job(document) for _, document in rows]
        if not all(jobs):
            from pytest_valor_schedule.client import live_jobs

            jobs = list(live_jobs.job_list(index, rows))
        return {"jobs": jobs, "total": index.count(status), "filtered_by": status and str(status)}


@errors_as_answers
def job_results(job_id: str, keep: Callable[[Response], bool] | None = None) -> Response:
    """Return what `query.get_job_results` does, with those results alone that `keep` is true of."""
    with open_index() as index:
        job_id, job = index.find_ended(job_id)
        record = job and keep and record_file.read_some(index.home.record(job_id), keep)
        if not record:
            record = _record(index, job_id, keep)
    document = {**record, **(job or {})}  # of the job its row is what counts
    always = ("job_id", "outcome", "started_at", "completed_at", "summary", "results")
    more = ("exit_code", "explanation", "collection_errors")
    return {
        **{name: document.get(name) for name in always},
        **{name: document[name] for name in more if document.get(name) is not None},
    }


def _record(
    index: JobIndex, job_id: str, keep: Callable[[Response], bool] | None = None
) -> Response:
    """Return the record of a job, made anew where it is damaged."""
    from pytest_valor_schedule.queue import job_records  # here, because it is whole as a rule

    store = store_over(index)
    return job_records.record_of(store, require_ended(store.get(job_id)), keep)


@retry_if_rebuilt
def newest_job_here() -> str:
    """Return the id of the newest job that was scheduled from the current working directory.

    Raises:
        UnknownJobError: if there is none.
    """
    with open_index() as index:
        return index.newest_from(str(files.existing_folder(None)))
