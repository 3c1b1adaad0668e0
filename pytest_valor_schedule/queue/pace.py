"""How long a run is expected to go on, by its estimate and by the pace that it has. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.work_units import fill_unknown

_LINGER = 0.1  # of the time that something has taken: so much longer it takes at least
_TRUST = 0.1  # of the work that the history knows: so much that was seen weighs as much as it


def lasting(expected: float, elapsed: float) -> float:
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
        known: Node id to seconds.
        otherwise: Seconds of each test that is not known.
        seconds: Of all tests, one after the other.
        trust: How many seconds that were seen weigh as much as all that was expected.
    """

    tests: int
    known: Mapping[str, float]
    otherwise: float
    seconds: float
    trust: float

    @classmethod
    def of(cls, nodeids: Iterable[str], known: Mapping[str, float], otherwise: float) -> Self:
        """Return the work of a round.

        Args:
            nodeids: Its tests.
            known: Node id to seconds, where the history knows them.
            otherwise: Seconds of a test, if it knows none.
        """
        found = [known.get(nodeid) for nodeid in nodeids]
        unknown = fill_unknown([*found, None], otherwise)[-1]
        sure = [each for each in found if each is not None]
        seconds = sum(sure) + unknown * (len(found) - len(sure))
        return cls(len(found), known, unknown, seconds, unknown + _TRUST * sum(sure))

    def of_test(self, nodeid: str) -> float:
        """Return what a test is expected to take."""
        return self.known.get(nodeid, self.otherwise)

    def slowness(self, expected: float, taken: float) -> float:
        """Return by which factor tests take longer than expected.

        Args:
            expected: Seconds that those which have been run were expected to take.
            taken: Seconds that they took.
        """
        return (self.trust + taken) / (self.trust + expected) if self.trust else 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How far a running job is, as its runner last said.

    Attributes:
        begun: Whether a test of this round has begun.
        queued: Seconds that the tests take that have not begun, one after the other; None if not
            said, as by a runner of an older version.
        running: What each test that runs is expected to take, and when it began, in seconds since
            the epoch.
    """

    begun: bool = False
    queued: float | None = None
    running: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, progress: Mapping[str, Any] | None) -> Self:
        """Return what a job's progress says; nothing where it cannot be read."""
        try:
            found = progress or {}
            running = tuple(
                (float(each["expected_seconds"]), clock.from_text(each["started_at"]) or 0.0)
                for each in found.get("running", ())
                if each.get("started_at") and "expected_seconds" in each
            )
            queued = found.get("queued_seconds")
            begun = bool(running or found.get("finished"))
            return cls(begun, None if queued is None else float(queued), running)
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls()


def seconds_left(
    expected: float, elapsed: float, workers: int, standing: Standing, now: float
) -> float:
    """Return how long a running job is expected to go on; 0 when all its tests have finished.

    Args:
        expected: Seconds that it was expected to take when it began.
        elapsed: Seconds since then.
        workers: How many it has.
        standing: How far it is.
        now: Seconds since the epoch.
    """
    if standing.queued is None:
        return lasting(expected, elapsed)
    tests = [lasting(each, max(0.0, now - began)) for each, began in standing.running]
    by_tests = max([*tests, (standing.queued + sum(tests)) / max(1, workers)])
    return by_tests if standing.begun else max(by_tests, lasting(expected, elapsed))
