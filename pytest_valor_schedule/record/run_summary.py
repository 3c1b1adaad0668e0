"""Aggregate the events of all event logs of a job into what became of each test. Pure.

It is done by set: every test that anybody collected has a result, and no other test has one.
Neither an exit code nor a summary line can hide one that is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.record.aggregator import INLINE_WORKER, UNFINISHED, ResultAggregator
from pytest_valor_schedule.record.attempt import Event, Source
from pytest_valor_schedule.record.output import error_line

_CONTROLLER = "controller"
_GONE = "was not there any more when the job collected its tests"
_LOST = "has no result: the disk was full, and what was reported of it may be lost"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What the event logs of a job say.

    Attributes:
        results: One for each test, in the order of collection.
        collection_errors: `nodeid` and `longrepr` of each.
        interruption: Why pytest stopped before its end, if it did.
        internal_error: The traceback of pytest's own failure in the last round, if there was one.
        missing: The node ids of tests that could be run, but were not.
        cut_off: Those of tests that began, and were cut off by the end of the run.
        changes: How the job's tests differ from those that were scheduled, if they do.
        deaths: Which workers ended in a test, or which session, and how, as parts of a sentence.
        exit_code: What a test gave `pytest.exit`, which xdist cannot pass on.
        failed_otherwise: Whether a plugin found the run to have failed, apart from its tests.
        refusals: Which of the collection errors are that a worker collected other tests than the
            others, and was given none.
        from_outside: Whether a worker was killed, or pytest failed over another process' end or
            the disk.
        disk_full: Whether reports may be lost, because the disk was full.
        skipped_modules: How many modules were skipped as a whole, whose tests nobody knows.
    """

    results: tuple[TestResult, ...]
    collection_errors: tuple[dict[str, str], ...] = ()
    interruption: str | None = None
    internal_error: str | None = None
    missing: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()
    changes: str | None = None
    deaths: tuple[str, ...] = ()
    exit_code: int | None = None
    failed_otherwise: bool = False
    refusals: tuple[str, ...] = ()
    from_outside: bool = False
    disk_full: bool = False
    skipped_modules: int = 0


def aggregate(
    tests: Sequence[str],
    logs: Iterable[tuple[str, Iterable[Event]]],
    stopped_at: float | None = None,
) -> RunSummary:
    """Return what became of every test, and of the run.

    Args:
        tests: The node ids collected when the job was scheduled.
        logs: Pairs of a writer, such as "1.1-controller" or "1.2-gw0", and its events, in the
            order of their names.
        stopped_at: When the run was told to stop, by the monotonic clock; workers that end
            after it did not crash.
    """
    aggregator = ResultAggregator(tests, stopped_at)
    for writer, events in logs:
        aggregator.add(writer, events)
    everything = dict.fromkeys((*tests, *aggregator.collection))
    missing = _MissingTests(tests, aggregator)
    results = tuple(missing.explained(aggregator.result(nodeid)) for nodeid in everything)
    return RunSummary(
        results=results,
        collection_errors=tuple(aggregator.collection_errors.values()),
        interruption=_interruption(aggregator),
        internal_error=_internal_error(aggregator),
        missing=missing.of(results),
        cut_off=tuple(each.nodeid for each in results if _is_cut_off(each)),
        changes=missing.changes(),
        deaths=tuple(_death_text(*entry) for entry in aggregator.deaths.items()),
        exit_code=aggregator.exit_code,
        failed_otherwise=aggregator.failure_round in aggregator.rounds[-1:],
        refusals=tuple(aggregator.refusals.values()),
        from_outside=aggregator.from_outside or any(map(_by_signal, aggregator.deaths.values())),
        disk_full=aggregator.disk_full,
        skipped_modules=len(aggregator.skips),
    )


class _MissingTests:
    """What the workers of a job collected, and so what may be missing."""

    def __init__(self, tests: Sequence[str], aggregator: ResultAggregator) -> None:
        self._aggregator = aggregator
        self._tests = dict.fromkeys(tests)
        self._by_worker: Mapping[Source, Iterable[str]] = {
            **(self._as_scheduled() if aggregator.collections else {}),
            **aggregator.collections,
        }
        self._collected = self._union(self._by_worker)
        self._runnable = self._union(self._by_worker.keys() - aggregator.refusals.keys())

    def _as_scheduled(self) -> dict[Source, Iterable[str]]:
        """Return the workers that collected what was scheduled, and so have not written it down."""
        digest_of_tests = collection_digest(self._tests)
        digests = self._aggregator.digests.items()
        return {source: self._tests for source, digest in digests if digest == digest_of_tests}

    def _union(self, workers: Iterable[Source]) -> set[str]:
        return {nodeid for source in workers for nodeid in self._by_worker[source]}

    def of(self, results: Iterable[TestResult]) -> tuple[str, ...]:
        """Return the tests that were not run, though a worker that runs tests collected them."""
        return tuple(
            each.nodeid
            for each in results
            if each.outcome is TestOutcome.NOT_RUN
            and (not self._by_worker or each.nodeid in self._runnable)
        )

    def explained(self, result: TestResult) -> TestResult:
        """Return a result with the reason for which its test was not run, if that is known."""
        if result.outcome is not TestOutcome.NOT_RUN or result.message not in (None, UNFINISHED):
            return result
        message = self._reason(result.nodeid) or result.message
        return dataclasses.replace(result, message=message)

    def _reason(self, nodeid: str) -> str | None:
        for error in self._aggregator.collection_errors:
            if error and nodeid.startswith((f"{error}::", f"{error}/")):
                return f"{error} could not be collected"
        if self._by_worker and nodeid not in self._collected:
            return _GONE
        if self._by_worker and nodeid not in self._runnable:
            workers = sorted(name for (_, name), ids in self._by_worker.items() if nodeid in ids)
            return (
                f"was collected by {', '.join(workers)} alone, which ran no tests for that reason"
            )
        return _LOST if self._aggregator.disk_full else None

    def changes(self) -> str | None:
        """Return how the collection of the job differs from that of its submitter."""
        present = self._collected | self._aggregator.attempts.keys()
        absent = len(self._tests.keys() - present) if self._by_worker else 0
        new = len(self._collected - self._tests.keys())
        if not absent:
            return f"{new} {'test is' if new == 1 else 'tests are'} new" if new else None
        noun = "test is" if absent == 1 else "tests are"
        parts = [f"{absent} scheduled {noun} not there any more"]
        parts += [f"{new} {'is' if new == 1 else 'are'} new"] if new else []
        return " and ".join(parts)


def _is_cut_off(result: TestResult) -> bool:
    return result.outcome is TestOutcome.NOT_RUN and result.started_at is not None


def _interruption(aggregator: ResultAggregator) -> str | None:
    """Return why pytest stopped: what a worker said, or else the controller."""
    by_controller = any(name == _CONTROLLER for _, name in aggregator.interruptions)
    if not by_controller and aggregator.exit_code is None:  # a worker ended by itself
        return None
    return min(aggregator.interruptions.items(), key=_controller_last)[1]


def _internal_error(aggregator: ResultAggregator) -> str | None:
    """Return the first of the last round: of a worker, which is what its controller's are about."""
    errors = sorted(aggregator.internal_errors.items(), key=_controller_last)
    return next((text for source, text in errors if source[0] in aggregator.rounds[-1:]), None)


def _death_text(source: Source, death: Event) -> str:
    """Return which process ended and how, as part of a sentence."""
    text = str(death.get("text", ""))
    return text if source[1] == INLINE_WORKER else f"a worker ended ({error_line(text)})"


def _by_signal(death: Event) -> bool:
    code = death.get("code")
    return isinstance(code, int) and code < 0


def _controller_last(entry: tuple[Source, str]) -> bool:
    return entry[0][1] == _CONTROLLER
