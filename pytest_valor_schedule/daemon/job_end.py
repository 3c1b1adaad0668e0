"""The end of a job: its journals become its record, and the queue learns that it has ended."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_valor_schedule._util import clock, files
from pytest_valor_schedule._util.log import fault_text, warning
from pytest_valor_schedule.daemon import notification, outcomes
from pytest_valor_schedule.errors import RecordError, ScheduleError
from pytest_valor_schedule.model.job import Job, JobStatus, Outcome
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.queue import job_estimates, job_records
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file
from pytest_valor_schedule.record.aggregate import RunSummary


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """What whoever saw the end of a job knows of it.

    Attributes:
        completed_at: Seconds since the epoch.
        duration_seconds: How long the job ran, if it was measured by a clock that nobody sets.
        outcome: How the job was stopped, or None if pytest ended by itself.
        explanation: One sentence, where the outcome alone does not tell.
        exit_code: That of the job's pytest, if it is known.
        stopped_at: When the run was told to stop, by the monotonic clock.
        peak_memory_bytes: The most that the job's processes were seen to use together.
        junit_path: Where to write the user's JUnit file, if no pytest has seen the whole run.
        said: What pytest gave as the reason for its end, if it came to no session.
        cause: What ended the run from outside, as part of a sentence.
        rounds: How often a pytest was started, if it is known.
    """

    completed_at: float
    duration_seconds: float | None = None
    outcome: Outcome | None = None
    explanation: str | None = None
    exit_code: int | None = None
    stopped_at: float | None = None
    peak_memory_bytes: int | None = None
    junit_path: str | None = None
    said: str | None = None
    cause: str | None = None
    rounds: int | None = None


def complete(store: JobStore, job: Job, ending: JobEnd) -> Job | None:
    """Unite a job's journals, write its record, and end it in the queue.

    Args:
        store: The queue.
        job: The job as it stood; if it stands otherwise by now, the queue is not changed.
        ending: What is known of its end.

    Returns:
        The ended job, or None if somebody else ended it.

    Raises:
        ScheduleError: if the queue or a full disk does not let it end yet; it may be tried again.
            Any other fault is said, and in what can be kept of the job.
    """
    found, ended = _account_for(store, job, ending)
    known = notification.needed(store, job)
    if job.status is JobStatus.SCHEDULED:
        # The queue first: a runner may claim the job at this very moment.
        changed = _end_in_queue(store, job, ended)
        if changed is not None:
            _try_to_publish(store, ended, found)
            _notify(store, ended, known)
        return changed
    # The record first: whoever sees the status `completed` finds the results.
    ended = _try_to_publish(store, ended, found)
    if ending.junit_path is not None:
        with _harmless(job, "The JUnit file was not written"):
            _report(store, ended, ending.junit_path)
    changed = _end_in_queue(store, job, ended)
    with _harmless(job, "The durations were not learned"):
        job_estimates.learn_from(store, ended, found.results)
    if changed is not None:
        _notify(store, ended, known)
    return changed


def _notify(store: JobStore, ended: Job, known: Mapping[str, str]) -> None:
    with _harmless(ended, "Nobody could be told of its end"):
        notification.start(store, ended, known)


def _account_for(store: JobStore, job: Job, ending: JobEnd) -> tuple[RunSummary, Job]:
    """Return what became of a job; where that cannot be found out, it ends without results."""
    try:
        found = job_records.run_summary(store, job, ending.stopped_at)
        return found, _ended(job, ending, found)
    except Exception as error:
        why = _lasting_fault(job, "What became of its tests could not be found out", error)
    results = [TestResult(nodeid=each, outcome=TestOutcome.NOT_RUN) for each in _tests(store, job)]
    found = RunSummary(results=tuple(results))
    outcome = ending.outcome or Outcome.ERROR
    return found, _ended(job, dataclasses.replace(ending, outcome=outcome, explanation=why), found)


def _tests(store: JobStore, job: Job) -> list[str]:
    with contextlib.suppress(RecordError):  # whose list is what could not be read
        return store.tests(job.job_id)
    return []


def _try_to_publish(store: JobStore, ended: Job, found: RunSummary) -> Job:
    """Write the record; where none can be written, return the job with the reason."""
    try:
        job_records.publish(store, ended, found)
    except Exception as error:
        why = _lasting_fault(ended, "Its record could not be written", error)
        explanation = " ".join(filter(None, [ended.explanation, why]))
        return dataclasses.replace(ended, explanation=explanation)
    return ended


def _lasting_fault(job: Job, what: str, error: Exception) -> str:
    """Say and return what failed; raise the error again if it may pass, as with a full disk."""
    if isinstance(error, ScheduleError) and not isinstance(error, RecordError):
        raise error
    warning(f"{job.job_id}: {what}: {fault_text(error)}")
    why = str(error) if isinstance(error, ScheduleError) else repr(error)
    return f"{what} ({why.rstrip('.')})."


@contextlib.contextmanager
def _harmless(job: Job, what: str) -> Iterator[None]:
    """Say what fails; it must not keep a job from its end."""
    try:
        yield
    except Exception as error:
        warning(f"{job.job_id}: {what}: {fault_text(error)}")


def _report(store: JobStore, ended: Job, path: str) -> None:
    from pytest_valor_schedule.record import junit  # here, because few need it

    document = record_file.read(store.home.record(ended.job_id)) or {}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_public(path, junit.junit_xml(document))


def _end_in_queue(store: JobStore, job: Job, ended: Job) -> Job | None:
    changes = {name: getattr(ended, name) for name in _CHANGED}
    return store.change(job.job_id, job.status, **changes)


_CHANGED = (
    "status",
    "outcome",
    "explanation",
    "completed_at",
    "exit_code",
    "rounds",
    "peak_memory_bytes",
    "summary",
    "test_count",
)


def _ended(job: Job, ending: JobEnd, found: RunSummary) -> Job:
    outcome, explanation = ending.outcome, ending.explanation
    exit_code = ending.exit_code if found.exit_code is None else found.exit_code
    if outcome is None:
        flaky = bool(job.flaky_passes)
        outcome, text = outcomes.decide_outcome(
            found, exit_code, ending.said, cause=ending.cause, flaky_passes=flaky
        )
        rest = outcomes.left_over(found) if ending.cause else None
        explanation = " ".join(filter(None, [explanation, text, rest])) or None
    elif outcome is Outcome.TIMED_OUT:
        more = (explanation, outcomes.cut_off(found), outcomes.without_room(found))
        explanation = " ".join(filter(None, more))
    cancelled = outcome is Outcome.CANCELLED
    started_at = job.started_at or ending.completed_at
    completed_at = max(ending.completed_at, started_at)  # the clock may have been set back
    seconds = ending.duration_seconds
    if seconds is None:
        seconds = clock.elapsed(started_at, completed_at, job.timeout_minutes * 60)
    return dataclasses.replace(
        job,
        status=JobStatus.CANCELLED if cancelled else JobStatus.COMPLETED,
        outcome=outcome,
        explanation=explanation,
        completed_at=completed_at,
        exit_code=exit_code,
        rounds=ending.rounds,
        peak_memory_bytes=ending.peak_memory_bytes,
        summary=Summary.of(found.results, seconds, found.skipped_modules),
        test_count=len(found.results),
    )
