"""Aggregate the events of all event logs of a job into what became of each test. Pure.

It is done by set: every test that anybody collected has a result, and no other test has one.
Neither an exit code nor a summary line can hide one that is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.record.aggregator import ResultAggregator
from pytest_valor_schedule.record.attempt import Event, Source
from pytest_valor_schedule.record.missing_tests import Missing

_CONTROLLER = "controller"


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
        deaths: What is known of each worker that died.
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
    missing = Missing(tests, aggregator)
    results = tuple(missing.explained(aggregator.result(nodeid)) for nodeid in everything)
    return RunSummary(
        results=results,
        collection_errors=tuple(aggregator.collection_errors.values()),
        interruption=_interruption(aggregator),
        internal_error=_internal_error(aggregator),
        missing=missing.of(results),
        cut_off=tuple(each.nodeid for each in results if _is_cut_off(each)),
        changes=missing.changes(),
        deaths=tuple(str(death.get("text", "")) for death in aggregator.deaths.values()),
        exit_code=aggregator.exit_code,
        failed_otherwise=aggregator.failure_round in aggregator.rounds[-1:],
        refusals=tuple(aggregator.refusals.values()),
        from_outside=aggregator.from_outside or any(map(_by_signal, aggregator.deaths.values())),
        disk_full=aggregator.disk_full,
        skipped_modules=len(aggregator.skips),
    )


def _is_cut_off(result: TestResult) -> bool:
    return result.outcome is TestOutcome.NOT_RUN and result.started_at is not None


def _interruption(aggregator: ResultAggregator) -> str | None:
    """Return why pytest stopped: what a worker said, or else the controller."""
    by_controller = any(name == _CONTROLLER for _, name in aggregator.interruptions)
    if not by_controller and aggregator.exit_code is None:  # a worker ended by itself
        return None
    return next(iter(sorted(aggregator.interruptions.items(), key=_controller_last)))[1]


def _internal_error(aggregator: ResultAggregator) -> str | None:
    """Return the first of the last round: of a worker, which is what its controller's are about."""
    errors = sorted(aggregator.internal_errors.items(), key=_controller_last)
    return next((text for source, text in errors if source[0] in aggregator.rounds[-1:]), None)


def _by_signal(death: Event) -> bool:
    code = death.get("code")
    return isinstance(code, int) and code < 0


def _controller_last(entry: tuple[Source, str]) -> bool:
    return entry[0][1] == _CONTROLLER
