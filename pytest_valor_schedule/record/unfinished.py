"""Tell the result of a test whose worker, or the run, ended before its teardown did. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.record.attempt import Attempt, finished_result

_OF_THE_WHOLE = ("nodeid", "unfinished")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What ended an attempt at a test.

    Attributes:
        message: In one line.
        outcome: Crashed or failed, if it was the test's own doing; else not run.
        stacks: Where it was.
        sections: What it had printed, as name and text.
        moment: When, by the monotonic clock; 0 if that is not known.
    """

    message: str
    outcome: TestOutcome = TestOutcome.NOT_RUN
    stacks: str | None = None
    sections: tuple[tuple[str, str], ...] = ()
    moment: float = 0.0


def unfinished_result(attempt: Attempt, cause: Cause) -> TestResult:
    """Return what became of a test that began and did not come to its end."""
    is_known = attempt.has_failed or (attempt.is_decided and not attempt.to_rerun)
    result = finished_result(attempt)
    cut_off = dataclasses.replace(
        result,
        outcome=cause.outcome,
        duration_seconds=_duration(attempt, cause),
        phase=attempt.phase,
        message=cause.message,
        longrepr=cause.stacks,
        sections=cause.sections,
        unfinished=True,
    )
    return _in_teardown(result, cut_off, cause) if is_known else cut_off


def _in_teardown(body: TestResult, cut_off: TestResult, cause: Cause) -> TestResult:
    """Return what became of a test of which only the teardown is not known.

    It has crashed or failed if that was the doing of its teardown. Where the run ended in it, by
    whomever, it is what its body was, and says so.
    """
    longrepr = _join([body.longrepr, cut_off.longrepr])
    sections = cut_off.sections or body.sections
    cut_off = dataclasses.replace(cut_off, longrepr=longrepr, sections=sections)
    if cut_off.outcome.bad:
        text = f"{body.outcome}: {body.message}" if body.message else body.outcome
        message = f"{cause.message} in its teardown, after it had {text}"
        return dataclasses.replace(cut_off, message=message)
    message = f"its teardown did not end ({cause.message})"
    if body.outcome.bad:
        longrepr = _join([longrepr, message])
        return dataclasses.replace(body, longrepr=longrepr, unfinished=True)
    message = f"{body.outcome}, but {message}"
    return dataclasses.replace(cut_off, outcome=body.outcome, message=message)


def _duration(attempt: Attempt, cause: Cause) -> float:
    """Return for how long a test ran: until it was ended, where it is known when that was."""
    seconds = cause.moment - attempt.moment if attempt.moment and cause.moment else 0.0
    return max(attempt.duration, seconds)


def _join(texts: Iterable[str | None]) -> str | None:
    return "\n\n".join(filter(None, texts)) or None


def crash_entry(result: TestResult) -> dict[str, Any]:
    """Return what is kept of an attempt that another one followed."""
    return {name: v for name, v in result.to_json().items() if name not in _OF_THE_WHOLE}
