"""Measure how far a round of a job is, by what its event logs gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.record import event_log

_MOST_NODEID = 400  # characters of one that is shown while it runs


@dataclasses.dataclass(frozen=True, slots=True)
class RunningTest:
    """Describes the test that a worker is at.

    Attributes:
        writer: The worker's event log; see `EventLogReader.writer`.
        pid: The worker's process.
        nodeid: The test.
        since: When it started, by the monotonic clock.
        at: When it started, in seconds since the epoch, by the worker's clock; None if not told.
    """

    writer: str
    pid: int
    nodeid: str
    since: float
    at: float | None = None

    @property
    def worker(self) -> str:
        """The name that xdist gave the worker."""
        return self.writer.rpartition("-")[2]


class Progress:
    """Follows the event logs of one round of a job.

    Args:
        folder: That of the job.
        prefix: How the names of the round's event logs begin.
        work: What its tests are expected to take.
    """

    def __init__(self, folder: Path, prefix: str, work: Work) -> None:
        self._folder = folder
        self._prefix = prefix
        self._work = work
        self._queued = work.seconds  # of the tests that have not begun
        self._expected = 0.0  # of the tests after which their worker has begun another
        self._spent = 0.0  # by those
        self._starts: dict[str, tuple[float, float]] = {}  # by writer: what it takes, and when
        self._readers: dict[Path, event_log.EventLogReader] = {}
        self._pids: dict[str, int] = {}
        self._current: dict[str, RunningTest] = {}
        self._dead: set[str] = set()
        self._finished: set[str] = set()
        self._bad: set[str] = set()
        self.last_event: float | None = None

    def look(self, now: float) -> None:
        """Read what is new; `now` is the monotonic clock."""
        for reader in event_log.readers(self._folder, self._prefix):
            for event in self._readers.setdefault(reader.path, reader).read():
                self._take(reader.path.stem, event, now)

    def _take(self, writer: str, event: Mapping[str, Any], now: float) -> None:
        kind, nodeid = event["kind"], str(event.get("id"))
        if kind == "open":
            self._pids[writer] = event.get("pid") or 0
        elif kind == "down":
            self._dead.add(f"{self._prefix}-{event.get('worker')}")
        elif kind == "start":
            self.last_event = now
            pid = self._pids.get(writer, 0)
            self._current[writer] = RunningTest(writer, pid, nodeid, now, event.get("at"))
            self._measure(writer, nodeid, _moment_of(event, now))
        elif kind == "report":
            self.last_event = now
            self._count(writer, nodeid, event)
        elif kind == "finish":  # without a teardown
            self._finish(writer, nodeid)

    def _measure(self, writer: str, nodeid: str, moment: float) -> None:
        """Count the test before as done, because its worker has begun another."""
        expected, previous = self._starts.get(writer, (0.0, moment))
        self._expected += expected
        self._spent += max(0.0, moment - previous)
        self._starts[writer] = (self._work.of_test(nodeid), moment)
        self._queued = max(0.0, self._queued - self._work.of_test(nodeid))

    def _count(self, writer: str, nodeid: str, report: Mapping[str, Any]) -> None:
        if report.get("outcome") == "failed":
            self._bad.add(nodeid)
        if report.get("phase") == "teardown":
            self._finish(writer, nodeid)

    def _finish(self, writer: str, nodeid: str) -> None:
        self._finished.add(nodeid)
        self._current.pop(writer, None)

    @property
    def current(self) -> list[RunningTest]:
        """The tests that are being run."""
        return [each for name, each in self._current.items() if name not in self._dead]

    def forget(self, test: RunningTest) -> None:
        """Take the worker of a test as dead."""
        self._dead.add(test.writer)

    def lose_sight(self, now: float) -> None:
        """Take no test for the one that runs: what is reported finds no room on the disk."""
        self._current.clear()
        self.last_event = None if self.last_event is None else now

    def running(self) -> list[dict[str, Any]]:
        """Return `worker`, `nodeid`, `started_at`, `expected_seconds` of each test that runs."""
        slowness = self._work.slowness(self._expected, self._spent)
        return [
            {
                "worker": each.worker,
                "nodeid": each.nodeid[:_MOST_NODEID],
                "started_at": clock.to_text(each.at),
                "expected_seconds": round(self._work.of_test(each.nodeid) * slowness, 3),
            }
            for each in self.current
        ]

    def queued_seconds(self) -> float:
        """Return what the tests that have not begun take at this pace, one after the other."""
        return round(self._queued * self._work.slowness(self._expected, self._spent), 3)

    def snapshot(self) -> dict[str, Any]:
        """Return the counts, and what is `running` and `queued_seconds`."""
        queued = self.queued_seconds()
        return {**self.counts(), "running": self.running(), "queued_seconds": queued}

    def counts(self) -> dict[str, int]:
        """Return `finished`, `failed` and `total`, all counts of tests."""
        return {
            "finished": len(self._finished),
            "failed": len(self._bad),
            "total": max(self._work.tests, len(self._finished)),
        }


def _moment_of(event: Mapping[str, Any], now: float) -> float:
    """Return when something began, by the monotonic clock; now where the event does not tell."""
    moment = event.get("moment")
    return moment if isinstance(moment, int | float) and 0 <= moment <= now else now


def overdue(tests: list[RunningTest], now: float, limit_seconds: float | None) -> list[RunningTest]:
    """Return the tests that have run longer than they may."""
    if limit_seconds is None:
        return []
    return [each for each in tests if now - each.since >= limit_seconds]


def stalled(last_event: float | None, now: float, limit_seconds: float | None) -> bool:
    """Return whether tests have begun and nothing has happened for too long."""
    return (
        limit_seconds is not None and last_event is not None and now - last_event >= limit_seconds
    )
