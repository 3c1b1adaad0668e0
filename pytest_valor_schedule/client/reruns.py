"""The functions for programs that look back at jobs: what changed, and run it once more."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, cast

from pytest_valor_schedule.client import job_control
from pytest_valor_schedule.client.error_response import Response, errors_as_answers
from pytest_valor_schedule.client.responses import ComparisonResponse, ScheduleResponse
from pytest_valor_schedule.errors import InvalidRequestError, UnknownJobError
from pytest_valor_schedule.model import shell
from pytest_valor_schedule.model.job import Job, short_id
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
    with job_control.open_queue() as store:
        job = job_control.ended(store.find(job_id))
        other = _earlier(store, job, earlier_job_id)
        now, before = (job_records.published(store, each)["results"] for each in (job, other))
    if job.chosen_by_cache:  # of the tests that were left out it tells nothing
        ran = {result["nodeid"] for result in now}
        before = [result for result in before if result["nodeid"] in ran]
    found = dataclasses.asdict(compare.compare(before, now))
    slower = found.pop("slower")
    answer = {
        "job_id": job.job_id,
        "earlier_job_id": other.job_id,
        **{name: list(nodeids) for name, nodeids in found.items()},
        "slower": {name: {"before": b, "now": n} for name, (b, n) in slower.items()},
    }
    return cast(ComparisonResponse, answer)


def _earlier(store: JobStore, job: Job, named: str | None) -> Job:
    if named is not None:
        return job_control.ended(store.find(named))
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
    with job_control.open_queue() as store:
        job = job_control.ended(store.find(job_id))
        now = _outcomes(
            job_records.published(store, job, lambda each: each["outcome"] in compare.BAD)
        )
        bad = {each["nodeid"] for each in now}
        records = previous_runs.earlier_records(
            store, job, _MOST_RUNS - 1, lambda each: each["nodeid"] in bad
        )
        runs = [now, *map(_outcomes, records)]
    counted = compare.streaks(runs)
    return {"job_id": job.job_id, "runs": len(runs), "streaks": counted}


def _outcomes(record: dict[str, Any]) -> list[dict[str, str]]:
    """Return of a record, whose texts may be long, only what became of each test."""
    return [{name: each[name] for name in ("nodeid", "outcome")} for each in record["results"]]


@errors_as_answers
def rerun_job(job_id: str, *, failed: bool = False) -> ScheduleResponse:
    """Schedule a job once more, as it was asked for, in the environment of this process.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        failed: Run only the tests that were bad or that the run did not come to.

    Returns:
        What `schedule_tests` returns, and `workers`, `estimated_from`, `estimate` and `place`, as
        text.
    """
    from pytest_valor_schedule.client.collect import Collection, collect
    from pytest_valor_schedule.client.submit import submit
    from pytest_valor_schedule.config.home import Home
    from pytest_valor_schedule.model.run_options import RunOptions, apply_changes
    from pytest_valor_schedule.model.run_request import (
        RunRequest,
        current_environment,
        current_umask,
    )

    with job_control.open_queue() as store:
        job = store.find(job_id)
        chosen = (
            _not_good(job_control.ended(job), job_records.published(store, job)) if failed else None
        )
    order = RunRequest(
        specification=job.specification,
        launcher=job.launcher,
        arguments=job.arguments,
        cwd=job.cwd,
        environment=_set_by(job, current_environment()),
        umask=current_umask(),
        rerun_of=job.job_id,
    )
    request = RunOptions(
        priority=job.priority,
        max_workers=job.max_workers,
        timeout_minutes=job.timeout_minutes,
        notification_chat_id=_chat_of(job),
    )
    seconds = job.timeout_minutes * 60
    wanted = dataclasses.asdict(request)
    found: Collection = collect(
        order.launcher, order.arguments, order.cwd, order.environment, seconds, wanted
    )
    found = dataclasses.replace(
        found,
        confirm_failures=job.confirm_failures,
        flaky_passes=bool(job.flaky_passes),
        random_seed=None if found.random_seed is None else job.random_seed,
    )
    if chosen is not None:
        found = _only(found, chosen, job)
    request = apply_changes(request, found.changes)
    receipt = submit(Home.find(os.environ), order, request, found)
    return receipt.shown_answer(found.nodeids)


def _set_by(job: Job, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment with what the job's specification sets before its command."""
    text = job.specification
    # What a terminal's pytest was given begins with its name, and may not be fit for a split.
    pairs = dict(shell.assignments([] if text.startswith("pytest") else shell.split(text)))
    lost = [name for name, value in pairs.items() if value == shell.HIDDEN]
    if absent := [name for name in lost if name not in environment]:
        raise InvalidRequestError(
            f"Job {job.job_id} was scheduled with {absent[0]}=..., whose value is not kept, "
            "because it may be secret; set that variable and try again."
        )
    return {**environment, **{n: value for n, value in pairs.items() if n not in lost}}


def _chat_of(job: Job) -> str | None:
    """Return whom to tell; an address whose secret part was not kept is of no use."""
    chat = job.notification_chat_id
    return None if chat is None or "://" in chat else chat


def _not_good(job: Job, record: dict[str, Any]) -> set[str]:
    wanted = (*compare.BAD, "not_run")
    chosen = {each["nodeid"] for each in record["results"] if each["outcome"] in wanted}
    if not chosen:
        raise InvalidRequestError(f"Nothing failed in job {job.job_id}; leave --failed out.")
    return chosen


def _only(found: Any, chosen: set[str], job: Job) -> Any:
    nodeids = tuple(nodeid for nodeid in found.nodeids if nodeid in chosen)
    if not nodeids:
        raise InvalidRequestError(
            f"None of the tests that failed in job {job.job_id} is there any more."
        )
    return dataclasses.replace(found, nodeids=nodeids, chosen_by_cache=True)
