"""The runs before a job: those that ended of the same specification in the same folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pytest_valor_schedule import completion
from pytest_valor_schedule.entry import job_of, storable
from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.job import Job, Outcome
from pytest_valor_schedule.store import JobStore

_LOOKED_AT = 200  # jobs of the folder; beyond them an earlier run tells little
_OF_TESTS = (Outcome.PASSED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INCOMPLETE)


def earlier_jobs(store: JobStore, job: Job) -> Iterator[Job]:
    """Yield what ran before a job of the same specification and folder, the newest first."""
    query = (
        "SELECT document FROM jobs WHERE folder = ? AND seq < (SELECT seq FROM jobs WHERE id = ?)"
        " ORDER BY seq DESC LIMIT ?"
    )
    with store.database.reading() as connection:
        values = (storable(job.cwd), job.job_id, _LOOKED_AT)
        documents = [row["document"] for row in connection.execute(query, values)]
    for document in documents:
        other = job_of(document)
        if other is not None and _is_alike(other, job):
            yield other


def _is_alike(other: Job, job: Job) -> bool:
    same = (other.specification, other.cwd) == (job.specification, job.cwd)
    # A part of the tests, such as the failed ones, is no run to compare the whole with.
    whole = not other.chosen_by_cache or bool(job.chosen_by_cache)
    return same and whole and other.outcome in _OF_TESTS


def earlier_records(store: JobStore, job: Job, most: int) -> Iterator[dict[str, Any]]:
    """Yield the records of at most so many runs before a job, the newest first."""
    found = 0
    for other in earlier_jobs(store, job):
        if found >= most:
            return
        with contextlib.suppress(StoreError):  # it is damaged or gone, and says nothing any more
            yield completion.published(store, other)
            found += 1
