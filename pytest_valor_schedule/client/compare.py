"""Say what changed between two jobs, and since when a test fails."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from pytest_valor_schedule.client.endpoint import (
    Response,
    errors_as_answers,
    open_queue,
    require_ended,
)
from pytest_valor_schedule.client.responses import ComparisonResponse
from pytest_valor_schedule.errors import UnknownJobError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import short_id
from pytest_valor_schedule.queue import job_records, previous_runs
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import compare

_MOST_RUNS = 10  # that a row of failures is counted over


@errors_as_answers
def compare_jobs(job_id: str, earlier_job_id: str | None = None) -> ComparisonResponse:
    """Return how the results of a job differ from those of an earlier one.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        earlier_job_id: The job to compare with; None for the one before it in the same folder
            of the same specification, or of the same tests.

    Returns:
        `job_id`, `earlier_job_id`, the node ids `newly_failing`, `fixed`, `still_failing`, `new`,
        `gone`, `not_run`, and `slower`: for each test that took twice as long or more `before` and
        `now`, in seconds; or `error`.
    """
    with open_queue() as store:
        job = require_ended(store.find(job_id))
        other = _earlier(store, job, earlier_job_id)
        now, before = (job_records.record_of(store, each)["results"] for each in (job, other))
    if job.chosen_by_cache:  # of the tests that were left out it tells nothing
        ran = {result["nodeid"] for result in now}
        before = [result for result in before if result["nodeid"] in ran]
    nodeids_by_change = dataclasses.asdict(compare.compare(before, now))
    slower = nodeids_by_change.pop("slower")
    answer = {
        "job_id": job.job_id,
        "earlier_job_id": other.job_id,
        **{name: list(nodeids) for name, nodeids in nodeids_by_change.items()},
        "slower": {name: {"before": b, "now": n} for name, (b, n) in slower.items()},
    }
    return cast(ComparisonResponse, answer)


def _earlier(store: JobStore, job: Job, job_id: str | None) -> Job:
    if job_id is not None:
        return require_ended(store.find(job_id))
    other = next(previous_runs.earlier_jobs(store, job), None)
    if other is None:
        raise UnknownJobError(
            f"No earlier run of `{job.specification}`, or of most of its tests, in {job.cwd} is "
            f"known; name the job to compare {short_id(job.job_id)} with."
        )
    return other


@errors_as_answers
def count_failures_in_a_row(job_id: str) -> Response:
    """Return for how long the bad tests of an ended job have been bad.

    Returns:
        `job_id`, `runs` (how many runs were looked at, this one too), and `streaks`: of each bad
        test in how many of them in a row, counted back from this one; or `error`.
    """
    with open_queue() as store:
        job = require_ended(store.find(job_id))
        record = job_records.record_of(store, job, lambda each: each["outcome"] in compare.BAD)
        bad = {each["nodeid"] for each in record["results"]}
        earlier_records = previous_runs.earlier_records(
            store, job, _MOST_RUNS - 1, lambda each: each["nodeid"] in bad
        )
        runs = list(map(_outcomes, (record, *earlier_records)))
    return {"job_id": job.job_id, "runs": len(runs), "streaks": compare.streaks(runs)}


def _outcomes(record: dict[str, Any]) -> list[dict[str, str]]:
    """Return what became of each test of a record, without its texts, which may be long."""
    return [{name: each[name] for name in ("nodeid", "outcome")} for each in record["results"]]
