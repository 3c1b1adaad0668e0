"""From the events of all journals to what became of each test and of the job. Pure.

The account is by set: every test that anybody collected has a result, and neither an exit code
nor a summary line can hide one that is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_valor_schedule.job import Outcome, TestOutcome, TestResult

Event = Mapping[str, Any]

_CONTROLLER = "controller"
_UNFINISHED = "was running when the run ended"


@dataclasses.dataclass(slots=True)
class _Attempt:
    """One time that a worker ran a test."""

    nodeid: str
    worker: str
    started_at: float | None = None
    moment: float = 0.0
    phases: dict[str, Event] = dataclasses.field(default_factory=dict)
    reruns: int = 0
    duration: float = 0.0
    subtests: list[Event] = dataclasses.field(default_factory=list)

    @property
    def finished(self) -> bool:
        return "teardown" in self.phases

    def take(self, report: Event) -> None:
        if report.get("subtest") is not None:
            self.subtests.append(report)
            return
        phase = str(report.get("phase"))
        if phase == "setup" and self.phases:  # once more, within the same start
            self.phases, self.subtests, self.duration = {}, [], 0.0
        self.phases[phase] = report
        self.reruns += report.get("outcome") == "rerun"  # as pytest-rerunfailures calls it
        self.duration += float(report.get("duration") or 0.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the journals of a job say.

    Attributes:
        results: One for each test, in the order of collection.
        collection_errors: `nodeid` and `longrepr` of each.
        interruption: Why pytest stopped before its end, if it did.
        internal_error: The traceback of pytest's own failure, if there was one.
    """

    results: tuple[TestResult, ...]
    collection_errors: tuple[dict[str, str], ...] = ()
    interruption: str | None = None
    internal_error: str | None = None


class _Ledger:
    """Gathers events; `result` reads it."""

    def __init__(self, stopped_at: float | None) -> None:
        self.stopped_at = stopped_at
        self.attempts: dict[str, list[_Attempt]] = {}
        self.collected: dict[str, None] = {}
        self.crashes: dict[str, str] = {}
        self.downs: dict[str, str] = {}
        self.interrupted: dict[str, str] = {}
        self.collection_errors: dict[str, dict[str, str]] = {}
        self.internal_error: str | None = None

    def take(self, writer: str, events: Iterable[Event]) -> None:
        current: dict[str, _Attempt] = {}
        for event in events:
            kind, nodeid = event["kind"], str(event.get("id", ""))
            if kind == "start" or (kind == "report" and nodeid not in current):
                moment = float(event.get("moment") or 0.0)
                attempt = _Attempt(nodeid, writer, event.get("at"), moment)
                self.attempts.setdefault(nodeid, []).append(attempt)
                current[nodeid] = attempt
            if kind == "report":
                current[nodeid].take(event)
            else:
                self._take_other(kind, writer, nodeid, event)

    def _take_other(self, kind: str, writer: str, nodeid: str, event: Event) -> None:
        text = str(event.get("text", ""))
        if kind == "collected":
            self.collected.update(dict.fromkeys(map(str, event.get("ids", ()))))
        elif kind == "interrupted":
            self.interrupted[writer] = text
        elif kind == "collection_error":
            self.collection_errors[nodeid] = {"nodeid": nodeid, "longrepr": text}
        elif kind == "internal_error":
            self.internal_error = text
        elif self.stopped_at is None or float(event.get("moment") or 0.0) < self.stopped_at:
            # A worker that dies after the run was told to stop is no crash.
            if kind == "crash":
                self.crashes[nodeid] = text
            elif kind == "down":
                self.downs[str(event.get("worker"))] = text

    def result(self, nodeid: str) -> TestResult:
        attempts = self.attempts.get(nodeid, ())
        finished = [_finished_result(each) for each in attempts if each.finished]
        if finished:
            reruns = sum(each.reruns for each in attempts) or None
            gravest = max(reversed(finished), key=lambda result: result.outcome.bad)
            return dataclasses.replace(gravest, reruns=reruns)
        if not attempts:
            return self._never_started(nodeid)
        return self._unfinished(max(attempts, key=lambda attempt: attempt.moment))

    def _never_started(self, nodeid: str) -> TestResult:
        crash = self.crashes.get(nodeid)
        outcome = TestOutcome.NOT_RUN if crash is None else TestOutcome.CRASHED
        return TestResult(nodeid=nodeid, outcome=outcome, message=crash)

    def _unfinished(self, attempt: _Attempt) -> TestResult:
        worker = attempt.worker
        interruption = self.interrupted.get(worker)
        crashed = interruption is None and (worker in self.downs or attempt.nodeid in self.crashes)
        message = f"killed its worker {worker}" if crashed else interruption or _UNFINISHED
        return TestResult(
            nodeid=attempt.nodeid,
            outcome=TestOutcome.CRASHED if crashed else TestOutcome.NOT_RUN,
            duration_seconds=attempt.duration,
            started_at=attempt.started_at,
            worker=worker,
            message=message,
            phase=next(reversed(attempt.phases), "setup"),
        )


def unite(
    tests: Sequence[str],
    journals: Iterable[tuple[str, Iterable[Event]]],
    stopped_at: float | None = None,
) -> Account:
    """Account for every test.

    Args:
        tests: The node ids collected when the job was scheduled.
        journals: Pairs of writer ("controller" or a worker's name) and its events.
        stopped_at: When the run was told to stop, by the monotonic clock; workers that end
            after it did not crash.
    """
    ledger = _Ledger(stopped_at)
    for writer, events in journals:
        ledger.take(writer, events)
    everything = dict.fromkeys((*tests, *ledger.collected, *ledger.attempts))
    return Account(
        results=tuple(ledger.result(nodeid) for nodeid in everything),
        collection_errors=tuple(ledger.collection_errors.values()),
        interruption=ledger.interrupted.get(_CONTROLLER),
        internal_error=ledger.internal_error,
    )


def _finished_result(attempt: _Attempt) -> TestResult:
    outcome, decisive = _decide(attempt)
    longreprs = [str(report["longrepr"]) for report in decisive if report.get("longrepr")]
    first = decisive[0] if decisive else {}
    return TestResult(
        nodeid=attempt.nodeid,
        outcome=outcome,
        duration_seconds=attempt.duration,
        started_at=attempt.started_at,
        worker=attempt.worker,
        phase=first.get("phase"),
        message=first.get("message"),
        longrepr="\n\n".join(longreprs) or None,
        sections=tuple((name, text) for name, text in (decisive or [{}])[-1].get("sections", ())),
        location=first.get("location"),
        subtests=tuple(_subtest(report) for report in attempt.subtests),
    )


def _decide(attempt: _Attempt) -> tuple[TestOutcome, list[Event]]:
    """Return a finished test's outcome and the reports that made it so; none for a pass."""
    failed = [report for report in attempt.phases.values() if report.get("outcome") == "failed"]
    if failed:
        # A failure in the call comes before an error around it.
        failed.sort(key=lambda report: report.get("phase") != "call")
        in_call = failed[0].get("phase") == "call"
        return (TestOutcome.FAILED if in_call else TestOutcome.ERROR), failed
    if failures := [each for each in attempt.subtests if each.get("outcome") == "failed"]:
        return TestOutcome.FAILED, _with_count(failures)
    report = attempt.phases.get("call") or attempt.phases.get("setup") or {}
    return _without_failure(report)


def _with_count(failures: list[Event]) -> list[Event]:
    """Return the failed subtests' reports, the first one's message saying how many there are."""
    count = len(failures)
    first = f"{failures[0].get('subtest')} {failures[0].get('message')}"
    message = f"contains {count} failed subtest{'s' if count > 1 else ''}: {first}"
    return [{**failures[0], "message": message}, *failures[1:]]


def _without_failure(report: Event) -> tuple[TestOutcome, list[Event]]:
    said, expected_to_fail = report.get("outcome"), bool(report.get("xfail"))
    if said == "passed":
        return (TestOutcome.XPASSED, [report]) if expected_to_fail else (TestOutcome.PASSED, [])
    if said == "skipped":
        return (TestOutcome.XFAILED if expected_to_fail else TestOutcome.SKIPPED), [report]
    return TestOutcome.NOT_RUN, [report]  # cut off before the rerun that it waited for


def _subtest(report: Event) -> dict[str, Any]:
    names = ("subtest", "outcome", "duration", "message", "longrepr", "location")
    renamed = {"subtest": "description", "duration": "duration_seconds"}
    return {renamed.get(name, name): report[name] for name in names if report.get(name) is not None}


def conclude(account: Account, exit_code: int | None) -> tuple[Outcome, str | None]:
    """Return how a job ended that nobody stopped, and one sentence where that is not plain.

    Args:
        account: What the journals say.
        exit_code: That of the job's pytest, negative for a signal; None if it is not known.
    """
    outcomes = [result.outcome for result in account.results]
    missing = outcomes.count(TestOutcome.NOT_RUN)
    bad = any(outcome.bad for outcome in outcomes)
    how = _how_it_ended(account, exit_code)
    if missing and missing == len(outcomes):
        return Outcome.ERROR, f"No test ran: {how}."
    if missing and not (bad and account.interruption):
        return Outcome.INCOMPLETE, f"{missing} of {len(outcomes)} tests have no result: {how}."
    if bad:
        return Outcome.FAILED, f"{missing} tests did not run: {how}." if missing else None
    if exit_code not in (0, 5):
        return Outcome.FAILED, f"No test failed, but {how}; the log tells why."
    return (Outcome.PASSED if outcomes else Outcome.NO_TESTS), None


def _how_it_ended(account: Account, exit_code: int | None) -> str:
    if account.interruption:
        return f"pytest stopped ({account.interruption})"
    if account.internal_error:
        return f"pytest had an internal error ({account.internal_error.strip().splitlines()[-1]})"
    if account.collection_errors:
        return f"{account.collection_errors[0]['nodeid']} could not be collected"
    if exit_code is None:
        return "the run was cut off"
    if exit_code < 0:
        return f"pytest was ended by signal {-exit_code}"
    return f"pytest ended with exit code {exit_code}"
