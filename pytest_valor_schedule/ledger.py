"""What the events of all journals of a job say of each test. Pure."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Sequence

from pytest_valor_schedule.attempt import Attempt, Event, Source, finished_result
from pytest_valor_schedule.handshake import CONFIRMING
from pytest_valor_schedule.result import TestOutcome, TestResult

_UNFINISHED = "was running when the run ended"
_HUNG, _CUT_OFF = "hung", "cut_off"
_SILENT = "nothing was reported of it: a pytest_runtest_protocol of the project handled it"
_TEXT_BUDGET = 24 * 1024 * 1024  # characters of tracebacks and output that one record holds
_TEXT_WITHOUT_BUDGET = 400  # characters of each that are kept when it is used up


class Ledger:
    """Gathers events; `result` reads it."""

    def __init__(self, stopped_at: float | None) -> None:
        self.stopped_at = stopped_at
        self.attempts: dict[str, list[Attempt]] = {}
        self.collected: dict[str, None] = {}
        self.crashes: dict[str, str] = {}
        self.downs: dict[Source, Event] = {}
        self.ended: dict[tuple[str, Source, str], Event] = {}  # by the runner
        self.silent: set[str] = set()
        self.killers: set[str] = set()
        self.interrupted: dict[Source, str] = {}
        self.exit_code: int | None = None
        self.failed_otherwise: str | None = None  # in which round
        self.rounds: list[str] = []  # but for those that confirm failures
        self.collection_errors: dict[str, dict[str, str]] = {}
        self.internal_errors: dict[str, str] = {}  # by round
        self._budget = _TEXT_BUDGET

    def take(self, writer: str, events: Iterable[Event]) -> None:
        """Enter the events of one journal; see `JournalReader.writer`."""
        round_, _, name = writer.rpartition("-")
        source, current = (round_, name), {}
        again = CONFIRMING in round_
        if not again and name == "controller":
            self.rounds.append(round_)
        for event in events:
            kind, nodeid = event["kind"], str(event.get("id", ""))
            if kind == "start" or (kind == "report" and nodeid not in current):
                current = {nodeid: self._begin(source, nodeid, event)}
            if kind == "report":
                current[nodeid].take(self._within_budget(event))
            elif not again:
                self._take_other(kind, source, nodeid, event)

    def _begin(self, source: Source, nodeid: str, event: Event) -> Attempt:
        moment = float(event.get("moment") or 0.0)
        attempt = Attempt(nodeid, source, event.get("at"), moment)
        self.attempts.setdefault(nodeid, []).append(attempt)
        return attempt

    def _within_budget(self, report: Event) -> Event:
        """Shorten the texts of a report when the reports before it had too much of them."""
        if "serial" in report:  # it is for whoever replays the run
            report = {name: value for name, value in report.items() if name != "serial"}
        sections = report.get("sections") or ()
        texts = {name: report[name] for name in ("message", "longrepr") if report.get(name)}
        size = sum(map(len, texts.values())) + sum(len(text) for _, text in sections)
        self._budget -= size
        if self._budget >= 0 or not size:
            return report
        return {
            **report,
            "message": texts.get("message", "")[:_TEXT_WITHOUT_BUDGET],
            "longrepr": _shortened(texts.get("longrepr", "")),
            "sections": [[name, _shortened(text)] for name, text in sections],
        }

    def _take_other(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        if kind in ("silent", "killer"):
            (self.silent if kind == "silent" else self.killers).add(nodeid)
        elif kind in (_HUNG, _CUT_OFF):
            self.ended[kind, (source[0], str(event.get("worker"))), nodeid] = event
        elif kind in ("crash", "down"):
            self._take_death(kind, source, nodeid, event)
        else:
            self._take_of_the_run(kind, source, nodeid, event)

    def _take_of_the_run(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        text, code = str(event.get("text", "")), event.get("code")
        if kind == "collected":
            self.collected.update(dict.fromkeys(map(str, event.get("ids", ()))))
        elif kind == "interrupted":
            self.interrupted[source] = text
            self.exit_code = code if isinstance(code, int) else self.exit_code
        elif kind == "collection_error":
            self.collection_errors[nodeid] = {"nodeid": nodeid, "longrepr": text}
        elif kind == "internal_error":
            self.internal_errors[source[0]] = text
        elif kind == "failed_otherwise":
            self.failed_otherwise = source[0]

    def _take_death(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        """Note a worker's death; one after the run was told to stop is no crash."""
        if self.stopped_at is not None and float(event.get("moment") or 0.0) >= self.stopped_at:
            return
        if kind == "crash":
            self.crashes[nodeid] = str(event.get("text", ""))
        else:
            self.downs[source[0], str(event.get("worker"))] = event

    def result(self, nodeid: str) -> TestResult:
        """Return what became of a test, by all that was entered."""
        every = self.attempts.get(nodeid, ())
        attempts = [each for each in every if not _confirms(each)]
        result = self._first_result(nodeid, attempts)
        passed = result.outcome.bad and any(map(_passed_again, every))
        return dataclasses.replace(result, flaky=True) if passed else result

    def _first_result(self, nodeid: str, attempts: Sequence[Attempt]) -> TestResult:
        if not any(attempt.phases for attempt in attempts) and nodeid in self.silent:
            return TestResult(nodeid=nodeid, outcome=TestOutcome.SKIPPED, message=_SILENT)
        if not attempts:
            return self._never_started(nodeid)
        ended = [each for each in attempts if each.finished and not each.to_rerun]
        results = [finished_result(each) for each in reversed(ended)]
        if not results:
            last = self._unfinished(max(attempts, key=lambda attempt: attempt.moment))
            results = [_blamed(last) if nodeid in self.killers else last]
        # A node id can be collected twice; then the worse result counts.
        gravest = max(results, key=lambda result: result.outcome.bad)
        reruns = sum(each.reruns + each.to_rerun for each in attempts) or None
        return dataclasses.replace(gravest, reruns=reruns)

    def _never_started(self, nodeid: str) -> TestResult:
        crash = self.crashes.get(nodeid)
        outcome = TestOutcome.NOT_RUN if crash is None else TestOutcome.CRASHED
        return TestResult(nodeid=nodeid, outcome=outcome, message=crash)

    def _unfinished(self, attempt: Attempt) -> TestResult:
        outcome, message, longrepr = self._verdict(attempt)
        if outcome is TestOutcome.NOT_RUN and attempt.failed:
            return finished_result(attempt)
        return TestResult(
            nodeid=attempt.nodeid,
            outcome=outcome,
            duration_seconds=attempt.duration,
            started_at=attempt.started_at,
            worker=attempt.source[1],
            message=message,
            longrepr=longrepr,
            sections=self._last_output(attempt, outcome),
            phase=attempt.phase,
        )

    def _last_output(self, attempt: Attempt, outcome: TestOutcome) -> tuple[tuple[str, str], ...]:
        """Return what a crashed test had printed, as name and text."""
        down = self.downs.get(attempt.source)
        if down is None or outcome is not TestOutcome.CRASHED:
            return ()
        return tuple((str(name), str(text)) for name, text in down.get("sections", ()))

    def _verdict(self, attempt: Attempt) -> tuple[TestOutcome, str, str | None]:
        """Return outcome, message and stacks of a test that began and did not finish."""
        source = attempt.source
        if attempt.finished:
            return TestOutcome.NOT_RUN, "failed, and the run ended before it was tried again", None
        if hung := self.ended.get((_HUNG, source, attempt.nodeid)):
            return TestOutcome.FAILED, str(hung.get("text")), hung.get("stacks") or None
        if cut_off := self.ended.get((_CUT_OFF, source, attempt.nodeid)):
            return TestOutcome.NOT_RUN, str(cut_off.get("text")), cut_off.get("stacks") or None
        if source in self.interrupted:
            return TestOutcome.NOT_RUN, self.interrupted[source], None
        down = self.downs.get(source)
        if down is not None or attempt.nodeid in self.crashes:
            message = f"killed its worker {source[1]}{_cause(down or {})}"
            return TestOutcome.CRASHED, message, (down or {}).get("stacks") or None
        return TestOutcome.NOT_RUN, _UNFINISHED, None


def _blamed(result: TestResult) -> TestResult:
    if result.message != _UNFINISHED:  # it is known what became of it
        return result
    message = "killed the run, and once more when it was run alone"
    return dataclasses.replace(result, outcome=TestOutcome.CRASHED, message=message)


def _confirms(attempt: Attempt) -> bool:
    """Whether it was made only to see whether a failure comes again."""
    return CONFIRMING in attempt.source[0]


def _passed_again(attempt: Attempt) -> bool:
    if not _confirms(attempt) or not attempt.finished or attempt.to_rerun:
        return False
    return finished_result(attempt).outcome in (TestOutcome.PASSED, TestOutcome.XFAILED)


def _shortened(text: str) -> str:
    if len(text) <= _TEXT_WITHOUT_BUDGET:
        return text
    return f"[... cut: this record has too much text ...]\n{text[-_TEXT_WITHOUT_BUDGET:]}"


def _cause(down: Event) -> str:
    """Return how a worker ended, in brackets."""
    code = down.get("code")
    if not isinstance(code, int):
        return ""
    if code >= 0:
        return f" (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f" ({name})" if name != "SIGKILL" else " (SIGKILL: killed, probably out of memory)"
