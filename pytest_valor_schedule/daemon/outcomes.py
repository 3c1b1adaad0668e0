"""Decide how a job ended, whether another round can help, and the sentences about both. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.model.result import TestOutcome
from pytest_valor_schedule.record.aggregator import signal_name
from pytest_valor_schedule.record.output import error_line
from pytest_valor_schedule.record.run_summary import RunSummary

if TYPE_CHECKING:
    from pytest_valor_schedule.daemon.supervisor import ProcessExit

_MOST_NAMED = 3
_NO_ROOM = "the disk was full"


def decide_outcome(
    summary: RunSummary,
    exit_code: int | None,
    error_line: str | None = None,
    *,
    cause: str | None = None,
    flaky_passes: bool = False,
) -> tuple[Outcome, str | None]:
    """Return how a job ended that nobody stopped, and one sentence where that is not plain.

    Args:
        summary: What the event logs say.
        exit_code: That of the job's pytest, negative for a signal; None if it is not known.
        error_line: What it printed as the reason for its end, if it came to no session.
        cause: What ended the run from outside, as part of a sentence, if anything did.
        flaky_passes: Whether a test that failed and then passed makes no job fail.
    """
    outcomes = [result.outcome for result in summary.results]
    missing = outcomes.count(TestOutcome.NOT_RUN)
    flaky = flaky_passes and any(result.flaky for result in summary.results)
    bad = any(
        result.outcome.bad for result in summary.results if not (flaky_passes and result.flaky)
    )
    how = cause or how_it_ended(summary, exit_code, error_line)
    if missing and missing == len(outcomes):
        return Outcome.ERROR, f"No test ran: {how}."
    if missing and not (bad and summary.interruption):
        return Outcome.INCOMPLETE, f"{missing} of {len(outcomes)} tests have no result: {how}."
    if bad:
        noun = "test" if missing == 1 else "tests"
        return Outcome.FAILED, f"{missing} {noun} did not run: {how}." if missing else None
    if summary.failed_otherwise or exit_code not in ((0, 1, 5) if flaky else (0, 5)):
        has_cause = exit_code is None or (cause or _cause(summary))
        why = "" if has_cause else "; the log tells why"
        return Outcome.FAILED, f"No test failed, but {how}{why}."
    if flaky:
        return Outcome.PASSED, "What failed passed when it was run again, and flaky tests may pass."
    if not outcomes:
        return Outcome.NO_TESTS, None
    return Outcome.PASSED, _blemish(summary, how)


def _blemish(summary: RunSummary, how: str) -> str | None:
    """Return a sentence about what was not right in a run that passed, if anything was not."""
    # That of a worker whose tests are all done does not always reach pytest's exit code.
    if summary.internal_error:
        return f"Every test ran, but {how}."
    count = sum(bool(result.unfinished) for result in summary.results)
    whose = "that of 1 test" if count == 1 else f"those of {count} tests"
    return f"Every teardown ended but {whose}, in which the run did." if count else None


def how_it_ended(summary: RunSummary, exit_code: int | None, error_line: str | None = None) -> str:
    """Return what is known of why pytest ended, as part of a sentence."""
    return _cause(summary) or _by_exit_code(exit_code, error_line)


def _cause(summary: RunSummary) -> str | None:
    """Return the cause that the event logs tell of, if they do."""
    if summary.interruption:
        return f"pytest stopped ({summary.interruption})"
    if error := (summary.internal_error or "").strip():
        return f"pytest had an internal error ({error_line(error)})"
    if summary.disk_full and summary.missing:
        return _NO_ROOM
    if summary.collection_errors:
        return _not_collected(summary)
    if summary.changes:
        return summary.changes
    if summary.deaths:
        return summary.deaths[-1]
    return None


def _by_exit_code(exit_code: int | None, error_line: str | None) -> str:
    if exit_code is None:
        return "the run was cut off"
    if exit_code < 0:
        return f"pytest was ended by signal {-exit_code}"
    return f"pytest ended with exit code {exit_code}{f' ({error_line})' if error_line else ''}"


def runner_end(code: int | None) -> str:
    """Return how the runner of a job ended that has not ended its job, as part of a sentence."""
    if code is None:
        return "its runner died, and nobody saw how"
    if code < 0:
        return f"its runner was killed ({signal_name(code)})"
    return f"its runner failed (exit code {code}), and dispatcher.log tells why"


def left_over(summary: RunSummary) -> str | None:
    """Return a sentence about what the tests without a result were at, if some were running."""
    missing = [each for each in summary.results if each.outcome is TestOutcome.NOT_RUN]
    running = sum(bool(each.unfinished) for each in missing)
    if len(missing) == 1:
        return "It was running then." if running else "It had not begun."
    if not running:
        return "They had not begun." if missing else None
    others = len(missing) - running
    rest = f", and {others} had not begun" if others else ""
    return f"{running} of them {'was' if running == 1 else 'were'} running then{rest}."


def can_bring_more(summary: RunSummary, first: ProcessExit) -> bool:
    """Return whether what is missing after the first round can come in another.

    Where no test began, and nothing from outside ended the run, pytest said no to the run as such
    (its options, a conftest.py, a plugin), and would say so again.
    """
    if not summary.missing or summary.interruption is not None or first.stop is not None:
        return False
    from_outside = summary.from_outside or first.killed or first.stalled or first.disk_full
    return from_outside or any(
        each.started_at is not None or each.outcome is not TestOutcome.NOT_RUN
        for each in summary.results
    )


def why_rerun(summary: RunSummary, first: ProcessExit, job: Job) -> str:
    """Return a sentence about the round that ran once more what had no result."""
    how = how_it_ended(summary, first.code, first.error_line)
    if first.stalled:
        how = _stall(job)
    elif first.disk_full and not first.killed:
        how = _NO_ROOM
    were = "was" if len(summary.missing) == 1 else "were"
    return f"{_tests(summary.missing)} {were} run once more, because at first {how}."


def why_not_rerun(summary: RunSummary, cause: str) -> str:
    """Return a sentence about the tests that were to be run once more, and could not be."""
    return f"{_tests(summary.missing)} could not be run once more: {cause}"


def why_stopped(last: ProcessExit, job: Job) -> str | None:
    """Return a sentence about who or what ended a run that did not end by itself."""
    if last.stop is Outcome.TIMED_OUT:
        return f"The time limit of {job.timeout_minutes:g} minutes ended the run."
    if last.stop is Outcome.CANCELLED:
        return "Cancelled on request while it ran."
    return f"The run was ended, because {_stall(job)}." if last.stalled else None


def _stall(job: Job) -> str:
    return f"nothing happened for {(job.stall_seconds or 0.0) / 60:g} minutes"


def _tests(nodeids: Sequence[str]) -> str:
    return f"{len(nodeids)} test{'' if len(nodeids) == 1 else 's'}"


def cut_off(summary: RunSummary) -> str | None:
    """Return a sentence about the tests that were running when the run was ended, if any were."""
    tests = [each.nodeid for each in summary.results if each.unfinished and not each.outcome.bad]
    if not tests:
        return None
    names = tests if len(tests) <= _MOST_NAMED else [*tests[: _MOST_NAMED - 1], "others"]
    return f"{', '.join(names)} {'was' if len(tests) == 1 else 'were'} running then."


def without_room(summary: RunSummary) -> str | None:
    """Return a sentence about what a full disk cost, if it cost anything."""
    return "The disk was full." if summary.disk_full and summary.missing else None


def _not_collected(summary: RunSummary) -> str:
    """Return what could not be collected, or else which worker had another collection."""
    errors = [e for e in summary.collection_errors if e["nodeid"] not in summary.refusals]
    first = (errors or summary.collection_errors)[0]
    why = f" ({error_line(first['longrepr'])})" if first.get("longrepr") else ""
    if not errors:
        return f"{first['nodeid']}{why}"
    others = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{first['nodeid']}{others} could not be collected{why}"
