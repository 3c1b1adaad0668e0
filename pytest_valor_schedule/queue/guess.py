"""What is guessed of tests that have not run yet, by what others like them take. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

_LEAST_SAMPLES = 5  # fewer say nothing
_LEAST_SECONDS = 0.001
_DEVIATIONS = 1.2816  # of a normal distribution, beyond which are 10 % on each side


class Spread(NamedTuple):
    """Between which values the next of a kind lies, in four of five cases, and the middle."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self | None:
        """Return it for durations, which are spread by factors; None if there are too few."""
        logs = [math.log(max(each, _LEAST_SECONDS)) for each in samples]
        if len(logs) < _LEAST_SAMPLES:
            return None
        middle = statistics.fmean(logs)
        width = _DEVIATIONS * statistics.stdev(logs) * math.sqrt(1 + 1 / len(logs))
        return cls(*(math.exp(each) for each in (middle - width, middle, middle + width)))


class Guess(NamedTuple):
    """What tests may take.

    Attributes:
        seconds: Of each test.
        overhead: Seconds of a run besides its tests.
        source: What it rests on, for people.
    """

    seconds: Spread
    overhead: Spread
    source: str

    def of(self, tests: int, workers: int) -> Spread:
        """Return what so many tests may take with so many workers."""
        share = tests / workers
        return Spread(*(o + share * s for o, s in zip(self.overhead, self.seconds, strict=True)))


def by_file(seconds: Mapping[str, float]) -> list[float]:
    """Return the mean duration of the tests of each file.

    Args:
        seconds: By node id.
    """
    files = defaultdict[str, list[float]](list)
    for nodeid, value in seconds.items():
        files[nodeid.partition("::")[0]].append(value)
    return [statistics.fmean(values) for values in files.values()]
