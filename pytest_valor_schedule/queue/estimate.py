"""Estimate how long tests take, from what the history has of them, or of others like them. Pure."""

from __future__ import annotations

import dataclasses
import heapq
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.work_units import fill_unknown

_LEAST_SAMPLES = 5  # fewer say nothing
_LEAST_SECONDS = 0.001
_DEVIATIONS = 1.2816  # of a normal distribution, beyond which are 10 % on each side
_UNKNOWN_TEST_SECONDS = 0.05
_UNKNOWN_OVERHEAD_SECONDS = 1.0
_UNKNOWN_BYTES = 64 * 2**20


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

    def plus(self, count: float, other: Spread) -> Spread:
        """Return the spread of this and so many of another together."""
        return Spread(*(mine + count * its for mine, its in zip(self, other, strict=True)))


class RunNorms(NamedTuple):
    """What runs of a project are like.

    Attributes:
        overhead: Seconds besides the tests: the start of pytest, and its end.
        gap: Seconds between two tests of a worker.
        memory: Bytes of one process.
    """

    overhead: float = _UNKNOWN_OVERHEAD_SECONDS
    gap: float = 0.0
    memory: float = _UNKNOWN_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """How long a job is expected to run, and with how much memory.

    Attributes:
        seconds: What the queue reckons with.
        runs: How many runs of these tests it rests on; 0 for none, and then it is no more than a
            guess.
        memory_bytes: At the peak, of all processes.
        useful_workers: How many pay; None without a history.
        spread: For a job without history what it may take; None where there is too little to say.
        source: What such a guess rests on, for people.
    """

    seconds: float
    runs: int
    memory_bytes: int = 0
    useful_workers: int | None = None
    spread: Spread | None = None
    source: str = ""

    @property
    def basis(self) -> str:
        """What the estimate rests on, for people."""
        if not self.runs:
            return f"no history yet, {self.source}" if self.source else "no history yet"
        return "from 1 run" if self.runs == 1 else f"from {self.runs} runs"

    @property
    def duration(self) -> str:
        """How long the job is expected to run, for people: a range where that is a guess."""
        if self.runs:
            return clock.duration_text(self.seconds)
        if self.spread is None:
            return "not known yet"
        return clock.range_text(self.spread.low, self.spread.high)

    @property
    def text(self) -> str:
        """Both in one, as the end of a sentence about the job."""
        lead = "about " if self.runs else "duration " if self.spread is None else ""
        return f"{lead}{self.duration} ({self.basis})"


def from_history(
    seconds: Sequence[float | None], runs: int, norms: RunNorms, most_workers: int
) -> Estimate:
    """Return the estimate of a job.

    Args:
        seconds: Of its tests; None for one that has not run yet.
        runs: How many runs of them there were.
        norms: What runs of them are like.
        most_workers: How many may run them.
    """
    lengths = [each + norms.gap for each in fill_unknown(seconds, 0.0)]
    useful = useful_workers(sum(lengths), norms.overhead, most_workers)
    expected = norms.overhead + makespan(lengths, useful)
    return Estimate(expected, runs, round(norms.memory * (1 + useful)), useful)


def without_history(
    spread: Spread | None, source: str, tests: int, norms: RunNorms, workers: int
) -> Estimate:
    """Return the estimate of a job whose tests have not run yet, by what such a run may take.

    The queue reckons with the middle, as tests/simulate.py tells: as soon as the job runs its pace
    counts, and who is taken for longer than he is waits longer than he need.
    """
    memory = round(norms.memory * (1 + workers))
    if spread is None:
        seconds = _UNKNOWN_OVERHEAD_SECONDS + tests / workers * _UNKNOWN_TEST_SECONDS
        return Estimate(seconds, 0, memory)
    return Estimate(spread.middle, 0, memory, spread=spread, source=source)


def by_file(seconds: Mapping[str, float]) -> list[float]:
    """Return the mean duration of the tests of each file; durations are given by node id."""
    files = defaultdict[str, list[float]](list)
    for nodeid, value in seconds.items():
        files[nodeid.partition("::")[0]].append(value)
    return [statistics.fmean(values) for values in files.values()]


def useful_workers(seconds: float, overhead: float, most: int) -> int:
    """Return how many of at most so many workers pay, for tests of so many seconds in all.

    One more pays as long as those there are would still be busy when it is ready, which takes
    about half of what a run takes besides its tests; the other half is the controller's.
    """
    return max(1, min(most, 1 + int(seconds / max(overhead / 2, 0.01))))


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Return the time at which the last worker ends when the longest tests go first.

    This is list scheduling by longest processing time (Graham, 1969).
    """
    ends = [0.0] * workers
    for value in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + value)
    return max(ends)
