"""Gather the events of a job, and make of them the result of each test. Pure."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Sequence

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.model.round import Round
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.record.attempt import (
    Attempt,
    Cause,
    Event,
    Source,
    crash_entry,
    finished_result,
    sections_of,
    unfinished_result,
)
from pytest_valor_schedule.record.output import trim_stacks

INLINE_WORKER = "main"
"""What the event logs call the process of a session that runs its tests itself."""
UNFINISHED = "was running when the run ended"
_OF_TESTS = ("start", "report", "finish", "silent")
_SILENT = "nothing was reported of it: a pytest_runtest_protocol of the project handled it"
_TEXT_BUDGET = 24 * 1024 * 1024  # characters of tracebacks and output that one record holds
_TEXT_WITHOUT_BUDGET = 400  # characters of each that are kept when it is used up
_LONG_TEXTS = ("message", "longrepr", "stacks", "text")
_MOST_CRASHES = 10  # of one test that are kept


class ResultAggregator:
    """Gathers events; `result` reads what became of a test.

    Its arguments are those of `run_summary.aggregate`.
    """

    def __init__(self, tests: Iterable[str], stopped_at: float | None) -> None:
        self.stopped_at = stopped_at
        self.collection: dict[str, None] = {}  # of the workers, where not what was scheduled
        self.collections: dict[Source, dict[str, None]] = {}  # the same, by worker
        self.refusals: dict[Source, str] = {}  # of workers that collected otherwise: the error
        self.attempts: dict[str, list[Attempt]] = {}
        self.crashes: dict[str, str] = {}  # by test
        self.deaths: dict[Source, Event] = {}  # by worker
        self.aborts: dict[tuple[str, Source, str], Event] = {}  # of tests, by the runner
        self.silent_tests: set[str] = set()
        self.killers: set[str] = set()
        self.interruptions: dict[Source, str] = {}
        self.exit_code: int | None = None
        self.failure_round: str | None = None  # in which a plugin found the run to have failed
        self.rounds: list[str] = []  # but for those that rerun failures
        self.collection_errors: dict[str, dict[str, str]] = {}
        self.skips: set[str] = set()  # modules, and whatever else was skipped with all in it
        self.internal_errors: dict[Source, str] = {}  # the first of each process
        self.from_outside = False  # whether such an error came from another process, or the disk
        self.disk_full = False
        self.digests: dict[Source, str] = {}  # of collections, as the controllers saw them
        self._tests = set(tests)
        self._budget = _TEXT_BUDGET

    def add(self, writer: str, events: Iterable[Event]) -> None:
        """Enter the events of one event log; see `EventLogReader.writer`."""
        round_, _, name = writer.rpartition("-")
        source, current = (round_, name), dict[str, Attempt]()
        is_rerun = Round.of(round_).reruns_failures
        if not is_rerun and name == "controller":
            self.rounds.append(round_)
        for event in map(self._within_budget, events):
            kind, nodeid = event["kind"], str(event.get("id", ""))
            if kind in _OF_TESTS and nodeid not in self._tests and nodeid not in self.collection:
                continue  # whoever wrote it, it is of no test of this job
            if kind == "start" or (kind == "report" and nodeid not in current):
                attempt = Attempt(nodeid, source, event.get("at"), event.get("moment") or 0.0)
                self.attempts.setdefault(nodeid, []).append(attempt)
                current = {nodeid: attempt}
            if kind in ("report", "finish") and nodeid in current:
                current[nodeid].add(event)
            elif kind == "collected" and not current:  # no test ran before that
                self._add_collection(source, event.get("ids") or ())
            elif not is_rerun:
                self._add_of_worker(kind, source, nodeid, event)

    def _add_collection(self, source: Source, nodeids: Iterable[str]) -> None:
        """Enter what a worker has collected, if the controller heard the same from it."""
        collection, round_ = dict.fromkeys(nodeids), source[0]
        is_old = all(other != round_ for other, _ in self.digests)  # of a version without digests
        if round_ in self.rounds and (
            is_old or self.digests.get(source) == collection_digest(collection)
        ):
            self.collections[source] = collection
            self.collection.update(collection)

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
        short = {name: _shorten(text) for name, text in texts.items()}
        if "message" in short:
            short["message"] = texts["message"][:_TEXT_WITHOUT_BUDGET]
        return {**event, **short, "sections": [[name, _shorten(text)] for name, text in sections]}

    def _add_of_worker(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        worker = (source[0], str(event.get("worker")))
        match kind:
            case "silent":
                self.silent_tests.add(nodeid)
            case "killer":
                self.killers.add(nodeid)
            case "hung" | "cut_off":
                self.aborts[kind, worker, nodeid] = event
            case "crash" if self._is_before_stop(event):
                self.crashes[nodeid] = str(event.get("text", ""))
            case "down" if self._is_before_stop(event):
                self.deaths[worker] = event
            case "worker":
                self.digests[worker] = str(event.get("digest"))
            case _:
                self._add_of_run(kind, source, nodeid, event)

    def _is_before_stop(self, event: Event) -> bool:
        """Return whether a worker died before the run was told to stop; later it is no crash."""
        return self.stopped_at is None or (event.get("moment") or 0.0) < self.stopped_at

    def _add_of_run(self, kind: str, source: Source, nodeid: str, event: Event) -> None:
        text, code = str(event.get("text", "")), event.get("code")
        match kind:
            case "interrupted":
                self.interruptions[source] = text
                self.exit_code = self.exit_code if code is None else code
            case "collection_error":
                self.collection_errors[nodeid] = {"nodeid": nodeid, "longrepr": text}
                if event.get("refused"):
                    self.refusals[source[0], str(event["refused"])] = nodeid
            case "collection_skip" if source[1] == "controller":
                self.skips.add(nodeid)
            case "internal_error":
                self.internal_errors.setdefault(source, text)
                self.from_outside |= bool(event.get("from_outside"))
            case "disk_full":
                self.disk_full = True
            case "failed_otherwise":
                self.failure_round = source[0]

    def result(self, nodeid: str) -> TestResult:
        """Return what became of a test, by all that was entered."""
        every = self.attempts.get(nodeid, ())
        attempts = [each for each in every if not Round.of(each.source[0]).reruns_failures]
        result = self._first_result(nodeid, attempts)
        is_flaky = result.outcome.bad and any(map(_passed_again, every))
        return dataclasses.replace(result, flaky=True) if is_flaky else result

    def _first_result(self, nodeid: str, attempts: Sequence[Attempt]) -> TestResult:
        if not any(attempt.phases for attempt in attempts) and nodeid in self.silent_tests:
            return TestResult(nodeid=nodeid, outcome=TestOutcome.SKIPPED, message=_SILENT)
        if not attempts:
            crash = self.crashes.get(nodeid)
            outcome = TestOutcome.NOT_RUN if crash is None else TestOutcome.CRASHED
            return TestResult(nodeid=nodeid, outcome=outcome, message=crash)
        complete = [each for each in attempts if each.is_complete]
        last = max(attempts, key=lambda attempt: attempt.moment)
        results = map(self._result_of, complete[::-1] or [last])
        # A node id can be collected twice; then the worse result counts.
        gravest = max(results, key=lambda result: result.outcome.bad)
        others = attempts if complete else [each for each in attempts if each is not last]
        crashes = [each for each in others if not each.is_finished and not each.to_rerun]
        return dataclasses.replace(
            gravest,
            reruns=sum(each.reruns + each.to_rerun for each in attempts) + len(crashes) or None,
            crashes=tuple(crash_entry(self._result_of(each)) for each in crashes[-_MOST_CRASHES:]),
        )

    def _result_of(self, attempt: Attempt) -> TestResult:
        if attempt.is_complete:
            return finished_result(attempt)
        result = unfinished_result(attempt, self._cause(attempt))
        if attempt.nodeid in self.killers and result.message == UNFINISHED:  # no more is known
            message = "killed the run, and once more when it was run alone"
            return dataclasses.replace(result, outcome=TestOutcome.CRASHED, message=message)
        return result

    def _cause(self, attempt: Attempt) -> Cause:
        """Return why a test that began did not come to its end."""
        source = attempt.source
        if attempt.is_finished:
            return Cause(message="failed, and the run ended before it was tried again")
        for kind, outcome in (("hung", TestOutcome.FAILED), ("cut_off", TestOutcome.NOT_RUN)):
            if abort := self.aborts.get((kind, source, attempt.nodeid)):
                return _cause_in(abort, str(abort.get("text")), outcome)
        if source in self.interruptions:
            return Cause(message=self.interruptions[source])
        if death := self.deaths.get(source):
            return _cause_in(death, crash_text(source[1], death), TestOutcome.CRASHED)
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


def _passed_again(attempt: Attempt) -> bool:
    if not Round.of(attempt.source[0]).reruns_failures or not attempt.is_complete:
        return False
    return finished_result(attempt).outcome in (TestOutcome.PASSED, TestOutcome.XFAILED)


def _shorten(text: str) -> str:
    if len(text) <= _TEXT_WITHOUT_BUDGET:
        return text
    return f"[... cut: this record has too much text ...]\n{text[-_TEXT_WITHOUT_BUDGET:]}"


def crash_text(worker: str, death: Event) -> str:
    """Return what a test did whose worker died in it, as the end of a sentence."""
    code, how = death.get("code"), ""
    if isinstance(code, int):
        name = f"exit code {code}" if code >= 0 else signal_name(code)
        how = f" ({name})" if name != "SIGKILL" else " (SIGKILL: killed, probably out of memory)"
    process = "pytest" if worker == INLINE_WORKER else f"its worker {worker}"
    return f"killed {process}{how}"


def signal_name(code: int) -> str:
    """Return the name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
