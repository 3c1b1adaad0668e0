"""Read and write the record of a job, and make it anew from the event logs where it is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.model.job import Job, job_record
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.queue.job_row import job_in
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file

if TYPE_CHECKING:
    from pytest_valor_schedule.record.run_summary import RunSummary


def record_of(
    store: JobStore, job: Job, keep: Callable[[dict[str, Any]], bool] | None = None
) -> dict[str, Any]:
    """Return the record of a job that has ended.

    One that was damaged is set aside, and one that is not there is made anew from the event logs.

    It has the results for which `keep` is true, or all.

    Raises:
        StoreError: if the event logs are gone too.
    """
    if keep is None:
        return _whole(store, job)
    some = record_file.read_some(store.home.record(job.job_id), keep)
    if some is not None and job_in(some) is not None:
        return some
    document = _whole(store, job)
    return {**document, "results": list(filter(keep, document.get("results") or ()))}


def _whole(store: JobStore, job: Job) -> dict[str, Any]:
    path = store.home.record(job.job_id)
    document = record_file.read(path)
    if document is not None and record_file.is_whole(document) and job_in(document) is not None:
        return document
    from pytest_valor_schedule.record import event_log  # here, because most records are whole

    if job.started_at is not None and not event_log.readers(store.home.job_folder(job.job_id)):
        raise StoreError(
            f"The record {path} is damaged or gone, and so are the event logs that it was made "
            f"of; what is left of job {job.job_id} is what `valor-schedule status` shows."
        )
    was_stopped = job.outcome in (Outcome.TIMED_OUT, Outcome.CANCELLED)
    run = summarize(store, job, 0.0 if was_stopped else None)  # no worker of it has crashed
    if store.database.read_only:
        return {**_head(store, job, run), "results": [each.to_json() for each in run.results]}
    record_file.set_aside(path)
    publish(store, job, run)
    return record_file.read(path) or {}


def publish(store: JobStore, job: Job, run: RunSummary) -> None:
    """Write the record of a job that has ended."""
    results = (result.to_json() for result in run.results)
    record_file.write(store.home.record(job.job_id), _head(store, job, run), results)


def _head(store: JobStore, job: Job, run: RunSummary) -> dict[str, Any]:
    """Return all of a record but for its results."""
    errors = [dict(error) for error in run.collection_errors]
    return job_record(job, store.tests(job.job_id), collection_errors=errors)


def summarize(store: JobStore, job: Job, stopped_at: float | None = None) -> RunSummary:
    """Aggregate a job's event logs as they are by now; see `run_summary.aggregate`."""
    from pytest_valor_schedule.record import event_log
    from pytest_valor_schedule.record.run_summary import aggregate

    readers = event_log.readers(store.home.job_folder(job.job_id))
    events = ((reader.writer, reader.read()) for reader in readers)
    return aggregate(store.tests(job.job_id), events, stopped_at)
