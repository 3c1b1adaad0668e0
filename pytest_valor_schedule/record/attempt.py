"""Follow one attempt of a worker at a test, and tell its result, finished or not. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_valor_schedule.model.result import TestOutcome, TestResult

Event = Mapping[str, Any]
Source = tuple[str, str]
"""Whose event log it is: the round, such as "1.2", and the writer, such as "gw0"."""

_PLAIN_PASS: Event = {"outcome": "passed"}
_AROUND = ("setup", "teardown")
_ALL_PLAIN = dict.fromkeys(("setup", "call", "teardown"), _PLAIN_PASS)
"""The phases of nearly every test, which are kept once for all of them."""
_OF_THE_WHOLE = ("nodeid", "unfinished")  # fields that an earlier attempt does not have


@dataclasses.dataclass(slots=True)
class Attempt:
    """One time that a worker ran a test."""

    nodeid: str
    source: Source
    started_at: float | None = None
    moment: float = 0.0
    phases: Mapping[str, Event] = dataclasses.field(default_factory=dict)  # is never changed
    reruns: int = 0
    duration: float = 0.0
    subtests: list[Event] | None = None
    extra: dict[str, Any] | None = None
    at_end: bool = False

    @property
    def is_decided(self) -> bool:
        """Whether it was reported what came of the test itself; its teardown may be missing."""
        skipped = self.phases.get("setup", _PLAIN_PASS) != _PLAIN_PASS
        return skipped or any(phase not in _AROUND for phase in self.phases)

    @property
    def is_finished(self) -> bool:
        """Whether all phases were reported, or the worker went on without them."""
        return self.is_decided and (self.at_end or "teardown" in self.phases)

    @property
    def is_complete(self) -> bool:
        """Whether it is finished, and what it came to stands."""
        return self.is_finished and not self.to_rerun

    @property
    def has_failed(self) -> bool:
        """Whether any phase failed, and is not to be tried again."""
        return any(report.get("outcome") == "failed" for report in self.phases.values())

    @property
    def to_rerun(self) -> bool:
        """Whether it failed and is to be tried again, as pytest-rerunfailures reports it."""
        return any(report.get("outcome") == "rerun" for report in self.phases.values())

    @property
    def phase(self) -> str:
        """The phase that the test was in when it was cut off."""
        last = next(reversed(list(self.phases)), "teardown")
        if last == "setup":
            return "call" if self.phases[last] == _PLAIN_PASS else "teardown"
        return "setup" if last == "teardown" else "teardown"

    def add(self, report: Event) -> None:
        """Enter one report of this attempt, or the notice that there are no more."""
        if report["kind"] == "finish":
            self.at_end = True
            seconds = (report.get("moment") or 0.0) - self.moment if self.moment else 0.0
            self.duration = max(self.duration, seconds)
            return
        if isinstance(report.get("extra"), dict):
            self.extra = (self.extra or {}) | report["extra"]
        if report.get("subtest") is not None:
            self.subtests = [*(self.subtests or ()), report]
            return
        phase = str(report.get("phase"))
        if phase == "setup" and self.phases:  # once more, within the same start
            self.reruns += self.to_rerun
            self.phases, self.subtests, self.duration = {}, None, 0.0
        plain = report.get("outcome") == "passed" and not report.get("xfail")
        if phase not in (*_AROUND, "call"):  # of a plugin; pytest counts it as it counts a call
            report = {**report, "phase": "call"}
        phases = {**self.phases, phase: _PLAIN_PASS if plain else report}
        self.phases = _ALL_PLAIN if phases == _ALL_PLAIN else phases
        self.duration += report.get("duration") or 0.0


def finished_result(attempt: Attempt) -> TestResult:
    """Return what became of a test by the phases that were reported."""
    outcome, decisive = _decide(attempt)
    longreprs = [str(report["longrepr"]) for report in decisive if report.get("longrepr")]
    first = decisive[0] if decisive else {}
    return TestResult(
        nodeid=attempt.nodeid,
        outcome=outcome,
        duration_seconds=attempt.duration,
        started_at=attempt.started_at,
        worker=attempt.source[1],
        phase=first.get("phase"),
        message=first.get("message"),
        longrepr="\n\n".join(longreprs) or None,
        sections=sections_of((decisive or [{}])[-1]),
        location=first.get("location"),
        subtests=tuple(_subtest(report) for report in attempt.subtests or ()),
        extra=attempt.extra or None,
    )


def sections_of(event: Event) -> tuple[tuple[str, str], ...]:
    """Return what an event has of captured output, as name and text."""
    return tuple((name, text) for name, text in event.get("sections") or ())


def _decide(attempt: Attempt) -> tuple[TestOutcome, list[Event]]:
    """Return a finished test's outcome and the reports that made it so; none for a pass."""
    errors = [report for report in attempt.phases.values() if report.get("outcome") == "failed"]
    # A failure in the call comes before an error around it.
    errors.sort(key=lambda report: report.get("phase") != "call")
    if errors and errors[0].get("phase") == "call":
        return TestOutcome.FAILED, errors
    if failures := [each for each in attempt.subtests or () if each.get("outcome") == "failed"]:
        return TestOutcome.FAILED, [*_with_count(failures), *errors]
    if errors:
        return TestOutcome.ERROR, errors
    calls = [report for phase, report in attempt.phases.items() if phase not in _AROUND]
    return _without_failure((calls or [attempt.phases.get("setup") or {}])[-1])


def _with_count(failures: list[Event]) -> list[Event]:
    """Return the failed subtests' reports, the first one's message saying how many there are."""
    count = len(failures)
    first = f"{failures[0].get('subtest')} {failures[0].get('message')}"
    message = f"contains {count} failed subtest{'s' if count > 1 else ''}: {first}"
    return [{**failures[0], "message": message}, *failures[1:]]


def _without_failure(report: Event) -> tuple[TestOutcome, list[Event]]:
    outcome, expected_to_fail = report.get("outcome"), bool(report.get("xfail"))
    if outcome == "passed":
        return (TestOutcome.XPASSED, [report]) if expected_to_fail else (TestOutcome.PASSED, [])
    if outcome == "skipped":
        return (TestOutcome.XFAILED if expected_to_fail else TestOutcome.SKIPPED), [report]
    return TestOutcome.NOT_RUN, [report]


def _subtest(report: Event) -> dict[str, Any]:
    names = ("subtest", "outcome", "duration", "message", "longrepr", "location")
    renamed = {"subtest": "description", "duration": "duration_seconds"}
    return {renamed.get(name, name): report[name] for name in names if report.get(name) is not None}


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
    # Until it was ended, where it is known when that was.
    seconds = cause.moment - attempt.moment if attempt.moment and cause.moment else 0.0
    cut_off = dataclasses.replace(
        result,
        outcome=cause.outcome,
        duration_seconds=max(attempt.duration, seconds),
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


def _join(texts: Iterable[str | None]) -> str | None:
    return "\n\n".join(filter(None, texts)) or None


def crash_entry(result: TestResult) -> dict[str, Any]:
    """Return what is kept of an attempt that another one followed."""
    return {name: v for name, v in result.to_json().items() if name not in _OF_THE_WHOLE}
