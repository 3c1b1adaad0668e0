"""Tell what a job takes of the machine, and for how long: by its estimate and its pace. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.work_units import fill_unknown

_SOONEST_SECONDS = 1.0  # after which a job ends that still runs
_LINGER = 0.1  # of the time that something has taken: so much longer it takes at least
_TRUST = 0.1  # of the work that the history knows: so much that was seen weighs as much as it


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A job that has slots.

    Attributes:
        job_id: Its id.
        slots: How many it has.
        ends_at: When it is expected to give them back, in seconds since the epoch.
        memory: How many bytes it is expected to give back then.
        name: For people, where it is not a job.
        is_predictable: Whether its end can be told, by its history or its pace.
    """

    job_id: str
    slots: int
    ends_at: float
    memory: float = 0.0
    name: str = ""
    is_predictable: bool = True

    @property
    def load(self) -> Load:
        """What it takes of the machine."""
        return Load(self.slots, self.memory)


class Load(NamedTuple):
    """Worker slots and bytes of memory: in use, needed or free."""

    slots: int
    memory: float

    def fits(self, free: Load) -> bool:
        """Return whether there is enough of both."""
        return self.slots <= free.slots and self.memory <= free.memory

    def plus(self, other: Load) -> Load:
        """Return the sum of both."""
        return Load(self.slots + other.slots, self.memory + other.memory)

    def less(self, other: Load) -> Load:
        """Return the difference of both."""
        return Load(self.slots - other.slots, self.memory - other.memory)


def needs(job: Job, total: int) -> int:
    """Return how many slots a job wants, of so many in all."""
    return min(job.worker_demand, total)


def expected_memory(job: Job, workers: int) -> float:
    """Return how many bytes a job is expected to take with so many workers, at its peak."""
    return (job.estimated_memory_bytes or 0) * (1 + workers) / (1 + job.worker_demand)


def expected_seconds(job: Job, workers: int) -> float:
    """Return how long a job is expected to run with so many workers."""
    most = job.worker_demand
    return job.estimated_seconds * most / min(workers, most)


def expected_end(job: Job, now: float, progress: Mapping[str, Any] | None = None) -> float:
    """Return when a job that runs is expected to end: by its estimate and its pace, in its limit.

    Its progress is what its runner last wrote of it.
    """
    workers = job.workers or job.worker_demand
    elapsed = 0.0 if job.started_at is None else max(0.0, now - job.started_at)
    expected = expected_seconds(job, workers)
    rest = remaining_of_run(expected, elapsed, workers, Pace.of(progress), now)
    return now + max(_SOONEST_SECONDS, min(rest, job.timeout_minutes * 60 - elapsed))


def knows_end(job: Job, progress: Mapping[str, Any] | None) -> bool:
    """Return whether the end of a job can be told: it has a history, or tests have finished."""
    return job.has_history or bool((progress or {}).get("finished"))


def used_bytes(progress: Mapping[str, Any] | None) -> float:
    """Return how much memory a running job uses, as its runner last wrote it."""
    try:
        return float((progress or {}).get("memory_mb", 0)) * 2**20
    except (TypeError, ValueError):
        return 0.0


def while_running(job: Job, now: float, progress: Mapping[str, Any] | None = None) -> Running:
    """Return what a job that runs, or is about to run, has of the machine.

    The memory that it uses is believed, where that is more than was expected.
    """
    workers = job.workers or job.worker_demand
    memory = max(expected_memory(job, workers), used_bytes(progress))
    ends_at = expected_end(job, now, progress)
    return Running(job.job_id, workers, ends_at, memory, is_predictable=knows_end(job, progress))


def when_started(job: Job, workers: int, now: float) -> Running:
    """Return what a job has of the machine that starts now, with so many workers."""
    ends_at = now + min(expected_seconds(job, workers), job.timeout_minutes * 60)
    return Running(job.job_id, workers, ends_at, expected_memory(job, workers))


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
        """Return the work of a round; a test takes `otherwise` seconds if none of them has run."""
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
