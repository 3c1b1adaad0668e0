"""Tell which tests no worker ran, why, and which of them a worker could run. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.record.aggregator import UNFINISHED, ResultAggregator
from pytest_valor_schedule.record.attempt import Source

_GONE = "was not there any more when the job collected its tests"
_LOST = "has no result: the disk was full, and what was reported of it may be lost"


class Missing:
    """What the workers of a job collected, and so what may be missing.

    Args:
        tests: The node ids that were scheduled.
        aggregator: With the events of all event logs.
    """

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
        gone = len(self._tests.keys() - present) if self._by_worker else 0
        new = len(self._collected - self._tests.keys())
        if not gone:
            return f"{new} {'test is' if new == 1 else 'tests are'} new" if new else None
        parts = [f"{gone} scheduled {'test is' if gone == 1 else 'tests are'} not there any more"]
        parts += [f"{new} {'is' if new == 1 else 'are'} new"] if new else []
        return " and ".join(parts)
