"""End a job: write its record from its event logs, and its end into the queue."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pytest_valor_schedule._util import clock, files
from pytest_valor_schedule._util.log import fault_text, warning
from pytest_valor_schedule.daemon import notification, outcomes
from pytest_valor_schedule.errors import RecordError, ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, RanIn
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.queue import job_estimates, job_records
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file
from pytest_valor_schedule.record.run_summary import RunSummary


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """Describes how a job ended, as far as whoever saw it can tell.

    Attributes:
        completed_at: Seconds since the epoch.
        duration_seconds: How long the job ran, if it was measured by a clock that nobody sets.
        outcome: How the job was stopped, or None if pytest ended by itself.
        explanation: One sentence, where the outcome alone does not tell.
        exit_code: That of the job's pytest, if it is known.
        stopped_at: When the run was told to stop, by the monotonic clock.
        peak_memory_bytes: The most that the job's processes were seen to use together.
        junit_path: Where to write the user's JUnit file, if no pytest has seen the whole run.
        error_line: What pytest printed as the reason for its end, if it came to no session.
        cause: What ended the run from outside, as part of a sentence.
        rounds: How often a pytest was started, if it is known.
        ran_in: Which processes ran the tests, if it is known.
        obstacle: Why a session that had collected them did not, if there was one.
    """

    completed_at: float
    duration_seconds: float | None = None
    outcome: Outcome | None = None
    explanation: str | None = None
    exit_code: int | None = None
    stopped_at: float | None = None
    peak_memory_bytes: int | None = None
    junit_path: str | None = None
    error_line: str | None = None
    cause: str | None = None
    rounds: int | None = None
    ran_in: RanIn | None = None
    obstacle: str | None = None


def complete(store: JobStore, job: Job, end: JobEnd) -> Job | None:
    """Aggregate a job's event logs, write its record, and end it in the queue.

    Args:
        store: The queue.
        job: The job as it stood; if it stands otherwise by now, the queue is not changed.
        end: How it ended.

    Returns:
        The ended job, or None if somebody else ended it.

    Raises:
        ScheduleError: if the queue or a full disk does not let it end yet; it may be tried again.
            Any other fault is logged, and told in what can be kept of the job.
    """
    summary, ended_job = _aggregate(store, job, end)
    environment = notification.environment(store, job)
    if job.status is JobStatus.SCHEDULED:
        # The queue first: a runner may claim the job at this very moment.
        changed = _end_in_queue(store, job, ended_job)
        if changed is not None:
            _try_to_publish(store, ended_job, summary)
    else:
        # The record first: whoever sees the status `completed` finds the results.
        ended_job = _try_to_publish(store, ended_job, summary)
        if end.junit_path is not None:
            with _harmless(job, "The JUnit file was not written"):
                _report(store, ended_job, end.junit_path)
        changed = _end_in_queue(store, job, ended_job)
        with _harmless(job, "The durations were not learned"):
            job_estimates.learn_from(store, ended_job, summary.results)
    if changed is not None:
        with _harmless(job, "Nobody could be told of its end"):
            notification.start(store, ended_job, environment)
    return changed


def _aggregate(store: JobStore, job: Job, end: JobEnd) -> tuple[RunSummary, Job]:
    """Return what became of a job; where that cannot be found out, it ends without results."""
    try:
        summary = job_records.summarize(store, job, end.stopped_at)
        return summary, _at_end(job, end, summary)
    except Exception as error:
        why = _lasting_fault(job, "What became of its tests could not be found out", error)
    results = [TestResult(nodeid=each, outcome=TestOutcome.NOT_RUN) for each in _tests(store, job)]
    summary = RunSummary(results=tuple(results))
    outcome = end.outcome or Outcome.ERROR
    return summary, _at_end(
        job, dataclasses.replace(end, outcome=outcome, explanation=why), summary
    )


def _tests(store: JobStore, job: Job) -> list[str]:
    with contextlib.suppress(RecordError):  # whose list is what could not be read
        return store.tests(job.job_id)
    return []


def _try_to_publish(store: JobStore, job: Job, summary: RunSummary) -> Job:
    """Write the record; where none can be written, return the job with the reason."""
    try:
        job_records.publish(store, job, summary)
    except Exception as error:
        why = _lasting_fault(job, "Its record could not be written", error)
        return dataclasses.replace(job, explanation=_joined(job.explanation, why))
    return job


def _lasting_fault(job: Job, what: str, error: Exception) -> str:
    """Log and return what failed; raise the error again if it may pass, as with a full disk."""
    if isinstance(error, ScheduleError) and not isinstance(error, RecordError):
        raise error
    warning(f"{job.job_id}: {what}: {fault_text(error)}")
    why = str(error) if isinstance(error, ScheduleError) else repr(error)
    return f"{what} ({why.rstrip('.')})."


@contextlib.contextmanager
def _harmless(job: Job, what: str) -> Iterator[None]:
    """Log what fails; it must not keep a job from its end."""
    try:
        yield
    except Exception as error:
        warning(f"{job.job_id}: {what}: {fault_text(error)}")


def _report(store: JobStore, job: Job, path: str) -> None:
    from pytest_valor_schedule.record import junit  # here, because few need it

    document = record_file.read(store.home.record(job.job_id)) or {}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_public(path, junit.junit_xml(document))


def _end_in_queue(store: JobStore, job: Job, ended_job: Job) -> Job | None:
    names = (field.name for field in dataclasses.fields(Job))
    changes = {n: getattr(ended_job, n) for n in names if getattr(ended_job, n) != getattr(job, n)}
    return store.change(job.job_id, job.status, **changes)


def _at_end(job: Job, end: JobEnd, summary: RunSummary) -> Job:
    """Return a job as it ended."""
    exit_code = end.exit_code if summary.exit_code is None else summary.exit_code
    outcome, explanation = _outcome(job, end, summary, exit_code)
    started_at = job.started_at or end.completed_at
    completed_at = max(end.completed_at, started_at)  # the clock may have been set back
    seconds = end.duration_seconds
    if seconds is None:
        seconds = clock.elapsed(started_at, completed_at, job.timeout_minutes * 60)
    cancelled = outcome is Outcome.CANCELLED
    return dataclasses.replace(
        job,
        status=JobStatus.CANCELLED if cancelled else JobStatus.COMPLETED,
        outcome=outcome,
        explanation=explanation,
        completed_at=completed_at,
        exit_code=exit_code,
        rounds=end.rounds,
        ran_in=end.ran_in,
        not_in_session=end.obstacle,
        peak_memory_bytes=end.peak_memory_bytes,
        summary=Summary.of(summary.results, seconds, summary.skipped_modules),
        test_count=len(summary.results),
    )


def _outcome(
    job: Job, end: JobEnd, summary: RunSummary, exit_code: int | None
) -> tuple[Outcome, str | None]:
    """Return the outcome of a job, and its explanation where the outcome alone does not tell."""
    if end.outcome is None:
        outcome, text = outcomes.decide_outcome(
            summary,
            exit_code,
            end.error_line,
            cause=end.cause,
            flaky_passes=bool(job.flaky_passes),
        )
        rest = outcomes.left_over(summary) if end.cause else None
        return outcome, _joined(end.explanation, text, rest)
    if end.outcome is Outcome.TIMED_OUT:
        more = outcomes.cut_off(summary), outcomes.without_room(summary)
        return end.outcome, _joined(end.explanation, *more)
    return end.outcome, end.explanation


def _joined(*sentences: str | None) -> str | None:
    return " ".join(filter(None, sentences)) or None
