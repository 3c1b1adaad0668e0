"""Find the runs before a job: those in the same folder that ran the same tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from pytest_valor_schedule.errors import ScheduleError, StoreError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.queue.database import storable
from pytest_valor_schedule.queue.job_row import job_of
from pytest_valor_schedule.queue.store import JobStore

_LOOKED_AT = 200  # jobs of the folder; beyond them an earlier run tells little
_MOST = 0.75
"""The share of tests that must be the same where some were added or removed."""
_OF_TESTS = (Outcome.PASSED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INCOMPLETE)


def earlier_jobs(store: JobStore, job: Job) -> Iterator[Job]:
    """Yield what ran before a job of the same specification or the same tests, the newest first.

    Most arguments select no test, such as where a report goes, and a list of them would never be
    complete; so what is asked is not what was typed but what was run. Where nothing of that kind
    ran before, runs that have most of the tests in common are yielded: some were added since.
    """
    others = list(_others(store, job))
    same = (
        other
        for other in others
        if other.specification == job.specification or _in_common(store, job, other, 1.0)
    )
    if (first := next(same, None)) is not None:
        yield first
        yield from same
    else:
        yield from (other for other in others if _in_common(store, job, other, _MOST))


def _others(store: JobStore, job: Job) -> Iterator[Job]:
    """Yield the runs in the folder of a job before it that it can be compared with."""
    query = (
        "SELECT document FROM jobs WHERE folder = ? AND seq < (SELECT seq FROM jobs WHERE id = ?)"
        " ORDER BY seq DESC LIMIT ?"
    )
    with store.database.reading() as connection:
        values = (storable(job.cwd), job.job_id, _LOOKED_AT)
        documents = [row["document"] for row in connection.execute(query, values)]
    for document in documents:
        other = job_of(document)
        if other is not None and _is_comparable(other, job):
            yield other


def _is_comparable(other: Job, job: Job) -> bool:
    # A part of the tests, such as the failed ones, is no run to compare the whole with.
    whole = not other.chosen_by_cache or bool(job.chosen_by_cache)
    return other.cwd == job.cwd and whole and other.outcome in _OF_TESTS


def _in_common(store: JobStore, job: Job, other: Job, least: float) -> bool:
    """Return whether at least such a share of the tests of both is in both.

    Of a job that is a part by choice, such as the failed ones, its own tests are what counts.
    """
    mine, theirs = job.test_count, other.test_count
    most = theirs if job.chosen_by_cache else min(mine, theirs)
    if most < least * (mine if job.chosen_by_cache else max(mine, theirs)):
        return False  # without a look at the tests, which may be very many
    try:
        own, others = set(store.tests(job.job_id)), set(store.tests(other.job_id))
    except ScheduleError:
        return False
    return len(own & others) >= least * len(own if job.chosen_by_cache else own | others)


def earlier_records(
    store: JobStore, job: Job, most: int, keep: Callable[[dict[str, Any]], bool] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the records of at most so many runs before a job, the newest first.

    Each has the results for which `keep` is true, or all.
    """
    count = 0
    for other in earlier_jobs(store, job):
        if count >= most:
            return
        with contextlib.suppress(StoreError):  # it is damaged or gone, and says nothing any more
            yield job_records.record_of(store, other, keep)
            count += 1
