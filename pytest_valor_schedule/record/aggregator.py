"""What the events of all journals of a job say of each test. Pure."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Sequence

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.model.round import Round
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.record.attempt import (
    Attempt,
    Event,
    Source,
    finished_result,
    sections_of,
)
from pytest_valor_schedule.record.output import trim_stacks
from pytest_valor_schedule.record.unfinished import Cause, crash_of, unfinished_result

UNFINISHED = "was running when the run ended"
_OF_TESTS = ("start", "report", "finish", "silent")
_HUNG, _CUT_OFF = "hung", "cut_off"
_SILENT = "nothing was reported of it: a pytest_runtest_protocol of the project handled it"
_TEXT_BUDGET = 24 * 1024 * 1024  # characters of tracebacks and output that one record holds
_TEXT_WITHOUT_BUDGET = 400  # characters of each that are kept when it is used up
_LONG_TEXTS = ("message", "longrepr", "stacks", "text")
_MOST_CRASHES = 10  # of one test that are kept


class ResultAggregator:
    """Gathers events; `result` reads it.

    Args:
        tests: The node ids collected when the job was scheduled.
        stopped_at: When the run was told to stop, by the monotonic clock.

    Attributes:
        collected: What the workers have collected, where that is not what was scheduled.
    """

    def __init__(self, tests: Iterable[str], stopped_at: float | None) -> None:
        self.stopped_at = stopped_at
        self.collected: dict[str, None] = {}
        self.collections: dict[Source, dict[str, None]] = {}  # the same, by worker
        self.refused: dict[Source, str] = {}  # workers that collected something else: the error
        self.attempts: dict[str, list[Attempt]] = {}
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
        self.skipped: set[str] = set()  # modules, and whatever else was skipped with all in it
        self.internal_errors: dict[Source, str] = {}  # the first of each process
        self.from_outside = False  # whether such an error came from another process, or the disk
        self.disk_full = False
        self.digests: dict[Source, str] = {}  # of collections, as the controllers saw them
        self._scheduled = set(tests)
        self._budget = _TEXT_BUDGET

    def take(self, writer: str, events: Iterable[Event]) -> None:
        """Enter the events of one journal; see `EventLogReader.writer`."""
        round_, _, name = writer.rpartition("-")
        source, current = (round_, name), dict[str, Attempt]()
        again = Round.of(round_).reruns_failures
        if not again and name == "controller":
            self.rounds.append(round_)
        for event in map(self._within_budget, events):
            kind, nodeid = event["kind"], str(event.get("id", ""))
            if kind in _OF_TESTS and not self._is_known(nodeid):
                continue  # whoever wrote it, it is of no test of this job
            if kind == "start" or (kind == "report" and nodeid not in current):
                current = {nodeid: self._begin(source, nodeid, event)}
            if kind in ("report", "finish") and nodeid in current:
                current[nodeid].take(event)
            elif kind == "collected" and not current:  # no test ran before that
                self._take_collection(source, event.get("ids") or ())
            elif not again:
                self._take_other(kind, source, nodeid, event)

    def _is_known(self, nodeid: str) -> bool:
        return nodeid in self._scheduled or nodeid in self.collected

    def _take_collection(self, source: Source, nodeids: Iterable[str]) -> None:
        """Enter what a worker has collected, if the controller heard the same from it."""
        found, round_ = dict.fromkeys(nodeids), source[0]
        is_old = all(other != round_ for other, _ in self.digests)  # of a version without digests
        if round_ in self.rounds and (
            is_old or self.digests.get(source) == collection_digest(found)
        ):
            self.collections[source] = found
            self.collected.update(found)

    def _begin(self, source: Source, nodeid: str, event: Event) -> Attempt:
        attempt = Attempt(nodeid, source, event.get("at"), event.get("moment") or 0.0)
        self.attempts.setdefault(nodeid, []).append(attempt)
        return attempt

    def _within_budget(self, event: Event) -> Event:
        """Shorten the texts of an event when those before it had too much of them."""
        if "serial" in event:  # it is for whoever replays the run
            event = {name: value for name, value in event.items() if name != "serial"}
        texts = {name: event[name] for name in _LONG_TEXTS if event.get(name)}
        sections = event.get("sections") or ()
        size = sum(map(len, texts.values())) + sum(len(text) for _, text in sections)
        self._budget -= size
        if self._budget >= 0 or not size:
            return event
        short = {name: _shortened(text) for name, text in texts.items()}
        if "message" in short:
            short["message"] = texts["message"][:_TEXT_WITHOUT_BUDGET]
        return {**event, **short, "sections": [[name, _shortened(text)] for name, text in sections]}

    def _take_other(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        if kind in ("silent", "killer"):
            (self.silent if kind == "silent" else self.killers).add(nodeid)
        elif kind in (_HUNG, _CUT_OFF):
            self.ended[kind, (source[0], str(event.get("worker"))), nodeid] = event
        elif kind in ("crash", "down"):
            self._take_death(kind, source, nodeid, event)
        elif kind == "worker":
            self.digests[source[0], str(event.get("worker"))] = str(event.get("digest"))
        else:
            self._take_of_the_run(kind, source, nodeid, event)

    def _take_of_the_run(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        text, code = str(event.get("text", "")), event.get("code")
        if kind == "interrupted":
            self.interrupted[source] = text
            self.exit_code = self.exit_code if code is None else code
        elif kind == "collection_error":
            self.collection_errors[nodeid] = {"nodeid": nodeid, "longrepr": text}
            if event.get("refused"):
                self.refused[source[0], str(event["refused"])] = nodeid
        elif kind == "collection_skip" and source[1] == "controller":
            self.skipped.add(nodeid)
        elif kind == "internal_error":
            self.internal_errors.setdefault(source, text)
            self.from_outside |= bool(event.get("from_outside"))
        elif kind == "disk_full":
            self.disk_full = True
        elif kind == "failed_otherwise":
            self.failed_otherwise = source[0]

    def _take_death(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        """Note a worker's death; one after the run was told to stop is no crash."""
        if self.stopped_at is not None and (event.get("moment") or 0.0) >= self.stopped_at:
            return
        if kind == "crash":
            self.crashes[nodeid] = str(event.get("text", ""))
        else:
            self.downs[source[0], str(event.get("worker"))] = event

    def result(self, nodeid: str) -> TestResult:
        """Return what became of a test, by all that was entered."""
        every = self.attempts.get(nodeid, ())
        attempts = [each for each in every if not Round.of(each.source[0]).reruns_failures]
        result = self._first_result(nodeid, attempts)
        passed = result.outcome.bad and any(map(_passed_again, every))
        return dataclasses.replace(result, flaky=True) if passed else result

    def _first_result(self, nodeid: str, attempts: Sequence[Attempt]) -> TestResult:
        if not any(attempt.phases for attempt in attempts) and nodeid in self.silent:
            return TestResult(nodeid=nodeid, outcome=TestOutcome.SKIPPED, message=_SILENT)
        if not attempts:
            return self._never_started(nodeid)
        ended = [each for each in attempts if each.finished and not each.to_rerun]
        last = max(attempts, key=lambda attempt: attempt.moment)
        results = map(self._result_of, ended[::-1] or [last])
        # A node id can be collected twice; then the worse result counts.
        gravest = max(results, key=lambda result: result.outcome.bad)
        crashed = [
            each
            for each in attempts
            if not each.finished and not each.to_rerun and (ended or each is not last)
        ]
        return dataclasses.replace(
            gravest,
            reruns=sum(each.reruns + each.to_rerun for each in attempts) + len(crashed) or None,
            crashes=tuple(crash_of(self._result_of(each)) for each in crashed[-_MOST_CRASHES:]),
        )

    def _never_started(self, nodeid: str) -> TestResult:
        crash = self.crashes.get(nodeid)
        outcome = TestOutcome.NOT_RUN if crash is None else TestOutcome.CRASHED
        return TestResult(nodeid=nodeid, outcome=outcome, message=crash)

    def _result_of(self, attempt: Attempt) -> TestResult:
        if attempt.finished and not attempt.to_rerun:
            return finished_result(attempt)
        result = unfinished_result(attempt, self._cause(attempt))
        return _blamed(result) if attempt.nodeid in self.killers else result

    def _cause(self, attempt: Attempt) -> Cause:
        """Return why a test that began did not come to its end."""
        source = attempt.source
        if attempt.finished:
            return Cause(message="failed, and the run ended before it was tried again")
        for kind, outcome in ((_HUNG, TestOutcome.FAILED), (_CUT_OFF, TestOutcome.NOT_RUN)):
            if noted := self.ended.get((kind, source, attempt.nodeid)):
                return _cause_in(noted, str(noted.get("text")), outcome)
        if source in self.interrupted:
            return Cause(message=self.interrupted[source])
        if down := self.downs.get(source):
            return _cause_in(down, crash_text(source[1], down), TestOutcome.CRASHED)
        return Cause(message=UNFINISHED)


def _cause_in(event: Event, message: str, outcome: TestOutcome) -> Cause:
    """Return the cause of which an event of the runner or the controller tells."""
    return Cause(
        message=message,
        outcome=outcome,
        stacks=trim_stacks(event.get("stacks") or "") or None,
        sections=sections_of(event),
        moment=event.get("moment") or 0.0,
    )


def _blamed(result: TestResult) -> TestResult:
    if result.message != UNFINISHED:  # it is known what became of it
        return result
    message = "killed the run, and once more when it was run alone"
    return dataclasses.replace(result, outcome=TestOutcome.CRASHED, message=message)


def _passed_again(attempt: Attempt) -> bool:
    if not Round.of(attempt.source[0]).reruns_failures or not attempt.finished or attempt.to_rerun:
        return False
    return finished_result(attempt).outcome in (TestOutcome.PASSED, TestOutcome.XFAILED)


def _shortened(text: str) -> str:
    if len(text) <= _TEXT_WITHOUT_BUDGET:
        return text
    return f"[... cut: this record has too much text ...]\n{text[-_TEXT_WITHOUT_BUDGET:]}"


def crash_text(worker: str, down: Event) -> str:
    """Return what a test did whose worker died in it, as the end of a sentence."""
    return f"killed its worker {worker}{_how_it_ended(down)}"


def _how_it_ended(down: Event) -> str:
    """Return how a worker ended, in brackets."""
    code = down.get("code")
    if not isinstance(code, int):
        return ""
    if code >= 0:
        return f" (exit code {code})"
    name = signal_name(code)
    return f" ({name})" if name != "SIGKILL" else " (SIGKILL: killed, probably out of memory)"


def signal_name(code: int) -> str:
    """Return the name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
