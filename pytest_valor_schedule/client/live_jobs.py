"""Say how jobs stand of which some have yet to end: how far they are, and what is forecast."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.client.endpoint import (
    Response,
    errors_as_answers,
    open_queue,
    store_over,
)
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, public_fields
from pytest_valor_schedule.queue import demand, forecast
from pytest_valor_schedule.queue.forecast import QueuePosition
from pytest_valor_schedule.queue.job_index import JobIndex
from pytest_valor_schedule.queue.store import JobStore


@errors_as_answers
def list_queue(limit: int) -> Response:
    """Return all that runs or waits, however many there are, and the newest that have ended.

    Args:
        limit: How many of each ended status.

    Returns:
        `active` and `ended`, each job as `list_jobs` returns it: all of one moment, so that no
        job is there twice, and none is left out; or `error`.
    """
    with open_queue() as store, store.database.snapshot():
        active = [*store.jobs(JobStatus.SCHEDULED), *store.jobs(JobStatus.RUNNING)]
        past = [*store.jobs(JobStatus.COMPLETED, limit), *store.jobs(JobStatus.CANCELLED, limit)]
        return {"active": _answers(store, active), "ended": _answers(store, past)}


def job_status(index: JobIndex, job_id: str) -> Response:
    """Return how one job stands; inside a snapshot."""
    store = store_over(index)
    return _answers(store, [store.get(job_id)])[0]


def job_list(index: JobIndex, rows: Iterable[tuple[str, str]]) -> list[Response]:
    """Return the jobs of rows, but for those that cannot be read; inside a snapshot."""
    store = store_over(index)
    return _answers(store, store.jobs_of(rows))


def _answers(store: JobStore, jobs: Sequence[Job]) -> list[Response]:
    """Return jobs as answers; what they are made of is read one by one."""
    now = time.time()
    scheduled = [job.job_id for job in jobs if job.status is JobStatus.SCHEDULED]
    places = forecast.queue_positions(store, now, scheduled) if scheduled else {}
    return [
        public_fields(job.to_json())
        | _place_fields(places.get(job.job_id))
        | _progress_fields(store, job, now)
        for job in jobs
    ]


def _progress_fields(store: JobStore, job: Job, now: float) -> Response:
    if job.status is not JobStatus.RUNNING:
        return {}
    progress = store.progress(job.job_id)
    answer: Response = {"progress": progress} if progress else {}
    if demand.knows_end(job, progress):
        answer["estimated_end"] = clock.to_text(demand.expected_end(job, now, progress))
    return answer


def _place_fields(place: QueuePosition | None) -> Response:
    if place is None:
        return {}
    fields = {
        "queue_position": place.position,
        "reason": place.reason,
        "estimated_start": clock.to_text(place.starts_at),
    }
    return {name: value for name, value in fields.items() if value is not None}
