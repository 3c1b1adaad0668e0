"""Say how jobs stand: of those that have ended what their rows say; the rest is in `live_jobs`."""

from __future__ import annotations

from pytest_valor_schedule._util import files
from pytest_valor_schedule.client.endpoint import (
    Response,
    errors_as_answers,
    open_index,
    store_over,
)
from pytest_valor_schedule.errors import retry_if_rebuilt
from pytest_valor_schedule.model.job_terms import JobStatus, ended_job


@errors_as_answers
def job_status(job_id: str, *, results: bool = False) -> Response:
    """Return what `query.get_job_status` does."""
    with open_index() as index:
        with index.database.snapshot():
            job_id = index.find_id(job_id)
            answer = ended_job(index.value(job_id, "document"))
            if answer is None:
                from pytest_valor_schedule.client import live_jobs  # here, because it is the rest

                answer = live_jobs.job_status(index, job_id)
        if results and answer.get("outcome"):
            from pytest_valor_schedule.queue import job_records

            store = store_over(index)
            answer["results"] = job_records.record_of(store, store.get(job_id))["results"]
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


@retry_if_rebuilt
def newest_job_here() -> str:
    """Return the id of the newest job that was scheduled from the current working directory.

    Raises:
        UnknownJobError: if there is none.
    """
    with open_index() as index:
        return index.newest_from(str(files.existing_folder(None)))
