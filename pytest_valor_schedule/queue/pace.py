"""Expect how long a run goes on, by its estimate and by the pace that it has. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.work_units import fill_unknown

_LINGER = 0.1  # of the time that something has taken: so much longer it takes at least
_TRUST = 0.1  # of the work that the history knows: so much that was seen weighs as much as it


def remaining_seconds(expected: float, elapsed: float) -> float:
    """Return how much longer something takes that was expected to take so long, and still runs.

    What is late is expected to become twice as late. So this makes no jump when the time that was
    expected is over, and grows no faster than the time goes by.
    """
    return max(abs(expected - elapsed), _LINGER * elapsed)


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What the tests of a round are expected to take.

    Attributes:
        tests: How many they are.
        durations: Node id to seconds.
        otherwise: Seconds of each test that has not run yet.
        seconds: Of all tests, one after the other.
        trust: How many seconds that were seen weigh as much as all that was expected.
    """

    tests: int
    durations: Mapping[str, float]
    otherwise: float
    seconds: float
    trust: float

    @classmethod
    def of(cls, nodeids: Iterable[str], durations: Mapping[str, float], otherwise: float) -> Self:
        """Return the work of a round.

        Args:
            nodeids: Its tests.
            durations: Node id to seconds, of those that have run.
            otherwise: Seconds of a test, if none has.
        """
        tests = [durations.get(nodeid) for nodeid in nodeids]
        unknown = fill_unknown([*tests, None], otherwise)[-1]
        past = [each for each in tests if each is not None]
        seconds = sum(past) + unknown * (len(tests) - len(past))
        return cls(len(tests), durations, unknown, seconds, unknown + _TRUST * sum(past))

    def of_test(self, nodeid: str) -> float:
        """Return what a test is expected to take."""
        return self.durations.get(nodeid, self.otherwise)

    def slowness(self, expected: float, real: float) -> float:
        """Return by which factor tests take longer than expected.

        Args:
            expected: Seconds that those which have been run were expected to take.
            real: Seconds that they took.
        """
        return (self.trust + real) / (self.trust + expected) if self.trust else 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How far a running job is, as its runner last wrote it.

    Attributes:
        has_begun: Whether a test of this round has begun.
        queued_seconds: What the tests take that have not begun, one after the other; None from a
            runner of an older version.
        running: What each test that runs is expected to take, and when it began, in seconds since
            the epoch.
    """

    has_begun: bool = False
    queued_seconds: float | None = None
    running: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, progress: Mapping[str, Any] | None) -> Self:
        """Return what a job's progress says; nothing where it cannot be read."""
        try:
            fields = progress or {}
            running = tuple(
                (float(each["expected_seconds"]), clock.from_text(each["started_at"]) or 0.0)
                for each in fields.get("running", ())
                if each.get("started_at") and "expected_seconds" in each
            )
            seconds = fields.get("queued_seconds")
            has_begun = bool(running or fields.get("finished"))
            return cls(has_begun, None if seconds is None else float(seconds), running)
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls()


def remaining_of_run(
    expected: float, elapsed: float, workers: int, pace: Pace, now: float
) -> float:
    """Return how long a running job is expected to go on; 0 when all its tests have finished.

    Args:
        expected: Seconds that it was expected to take when it began.
        elapsed: Seconds since then.
        workers: How many it has.
        pace: How far it is.
        now: Seconds since the epoch.
    """
    if pace.queued_seconds is None:
        return remaining_seconds(expected, elapsed)
    tests = [remaining_seconds(each, max(0.0, now - began)) for each, began in pace.running]
    by_tests = max([*tests, (pace.queued_seconds + sum(tests)) / max(1, workers)])
    return by_tests if pace.has_begun else max(by_tests, remaining_seconds(expected, elapsed))
