"""The record of a job: read it, and make it from the event logs where it is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.model.job import Job, Outcome, job_record
from pytest_valor_schedule.queue.job_row import job_in
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import event_log, record_file, run_summary
from pytest_valor_schedule.record.run_summary import RunSummary


def published(
    store: JobStore, job: Job, wanted: Callable[[dict[str, Any]], bool] | None = None
) -> dict[str, Any]:
    """Return the record of a job that has ended.

    One that was damaged is set aside, and one that is not there is made anew from the journals.

    Args:
        store: The queue.
        job: The job.
        wanted: Which results are kept; None for all.

    Raises:
        StoreError: if the journals are gone too.
    """
    if wanted is None:
        return _whole(store, job)
    some = record_file.read_some(store.home.record(job.job_id), wanted)
    if some is not None and job_in(some) is not None:
        return some
    document = _whole(store, job)
    return {**document, "results": list(filter(wanted, document.get("results") or ()))}


def _whole(store: JobStore, job: Job) -> dict[str, Any]:
    path = store.home.record(job.job_id)
    document = record_file.read(path)
    if document is not None and record_file.is_whole(document) and job_in(document) is not None:
        return document
    if job.started_at is not None and not event_log.readers(store.home.job_folder(job.job_id)):
        raise StoreError(
            f"The record {path} is damaged or gone, and so are the journals that it was made "
            f"of; what is left of job {job.job_id} is what `valor-schedule status` shows."
        )
    found = account(store, job, _stopped_at(job))
    if store.database.read_only:
        return {**_head(store, job, found), "results": [each.to_json() for each in found.results]}
    record_file.set_aside(path)
    publish(store, job, found)
    return record_file.read(path) or {}


def _stopped_at(job: Job) -> float | None:
    """Have no worker of a job that was told to stop taken for crashed."""
    return 0.0 if job.outcome in (Outcome.TIMED_OUT, Outcome.CANCELLED) else None


def publish(store: JobStore, ended: Job, found: RunSummary) -> None:
    """Write the record of a job that has ended."""
    results = (result.to_json() for result in found.results)
    record_file.write(store.home.record(ended.job_id), _head(store, ended, found), results)


def _head(store: JobStore, ended: Job, found: RunSummary) -> dict[str, Any]:
    """Return all of a record but for its results."""
    errors = [dict(error) for error in found.collection_errors]
    return job_record(ended, store.tests(ended.job_id), collection_errors=errors)


def account(store: JobStore, job: Job, stopped_at: float | None = None) -> RunSummary:
    """Unite a job's journals as they are by now; see `aggregate.unite`."""
    readers = event_log.readers(store.home.job_folder(job.job_id))
    events = ((reader.writer, reader.read()) for reader in readers)
    return run_summary.aggregate(store.tests(job.job_id), events, stopped_at)
