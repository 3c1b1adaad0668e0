"""Estimate the jobs of the queue: when they are scheduled, and again when more has been learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.estimate import Estimate, Spread, makespan
from pytest_valor_schedule.queue.history import History, Run, selection_key
from pytest_valor_schedule.queue.job_row import job_of
from pytest_valor_schedule.queue.store import JobStore

_WHOLE = (Outcome.PASSED, Outcome.FAILED)
_MOST_ANEW = 20  # jobs at once: each costs a transaction


def most_workers(store: JobStore, most: int, tests: int) -> int:
    """Return how many workers so many tests may have on this machine."""
    return max(1, min(most, tests, slots.total_or_cpus(store.home)))


def estimate(store: JobStore, history: History, job: Job, nodeids: Sequence[str]) -> Estimate:
    """Return how long a job will take; where that is a guess, no longer than it may."""
    most = most_workers(store, job.max_workers, len(nodeids))
    result = history.estimate(project_of(job.rootdir), nodeids, most, selection_key(job.arguments))
    if result.runs:
        return result
    limit = job.timeout_minutes * 60
    spread = result.spread and Spread(*(min(each, limit) for each in result.spread))
    return dataclasses.replace(result, seconds=min(result.seconds, limit), spread=spread)


def fields_of(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as the fields of a job."""
    return {
        "estimated_seconds": round(estimate.seconds, 3),
        "estimated_memory_bytes": estimate.memory_bytes,
        "estimated_from_runs": estimate.runs,
        "useful_workers": estimate.useful_workers,
    }


def estimate_anew(store: JobStore) -> None:
    """Estimate those waiting jobs once more that had no history when they came, and have one now.

    The next in line, whatever their project, so that a long queue costs no more; the others get
    their turn at the end of a later job.
    """
    history = History(store.database)
    for job in _without_history(store):
        result = estimate(store, history, job, store.tests(job.job_id))
        if result.runs:
            store.change(job.job_id, JobStatus.SCHEDULED, **fields_of(result))


def _without_history(store: JobStore) -> list[Job]:
    """Return the waiting jobs that had no history when they came, the oldest first."""
    query = "SELECT document FROM jobs WHERE status = ? AND instr(document, ?) ORDER BY seq LIMIT ?"
    values = (JobStatus.SCHEDULED, '"estimated_from_runs": 0', _MOST_ANEW)
    with store.database.reading() as connection:
        jobs = [job_of(row["document"]) for row in connection.execute(query, values)]
    return [job for job in jobs if job is not None and not job.has_history]


def learn_from(store: JobStore, job: Job, results: tuple[TestResult, ...]) -> None:
    """Learn what the run of a job that has ended was like, for the next estimates."""
    ran = [r for r in results if r.outcome is not TestOutcome.NOT_RUN and not r.unfinished]
    seconds = {r.nodeid: r.duration_seconds for r in ran}
    failures = {r.nodeid for r in results if r.outcome.bad}
    now = job.completed_at or 0.0
    run = _run_of(job, results)
    History(store.database).learn(project_of(job.rootdir), seconds, now, failures, run)
    estimate_anew(store)


def _run_of(job: Job, results: tuple[TestResult, ...]) -> Run | None:
    if job.summary is None or job.workers is None or job.outcome not in _WHOLE:
        return None
    gap = _gap(results)
    tests = makespan([result.duration_seconds + gap for result in results], job.workers)
    return Run(
        selection=selection_key(job.arguments),
        workers=job.workers,
        overhead_seconds=max(0.0, job.summary.duration_seconds - tests),
        gap_seconds=gap,
        peak_memory_bytes=job.peak_memory_bytes,
    )


def _gap(results: Iterable[TestResult]) -> float:
    """Return the median of the seconds between two tests of a worker, 0 if there are none."""
    starts = sorted(
        (result.worker or "", result.started_at, result.duration_seconds)
        for result in results
        if result.started_at is not None
    )
    gaps = sorted(
        later[1] - (earlier[1] + earlier[2])
        for earlier, later in pairwise(starts)
        if earlier[0] == later[0]
    )
    return max(0.0, gaps[len(gaps) // 2]) if gaps else 0.0
