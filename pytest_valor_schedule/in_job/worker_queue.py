"""Keep the tests that one worker of a job has to run, and how long they take. Pure."""

from __future__ import annotations

from collections import deque

from pytest_valor_schedule.model.work_units import WorkUnit


def seconds_of(unit: WorkUnit, count: int) -> float | None:
    """Return what so many of the tests of a unit are expected to take."""
    return None if unit.seconds is None else unit.seconds * count / len(unit.indices)


class Workload:
    """Sums up work as it changes, because it is asked for after each test."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._unknown_tests = 0

    def add(self, unit: WorkUnit, tests: int) -> None:
        """Count so many of a unit's tests, or no longer if negative."""
        part = seconds_of(unit, tests)
        if part is None:
            self._unknown_tests += tests
        else:
            self._seconds += part

    def seconds(self, guess: float) -> float:
        """Return how long it takes, where an unknown test takes so long as guessed."""
        return self._seconds + self._unknown_tests * guess


class WorkerQueue:
    """Holds the tests that one worker has not finished, in the order in which it runs them."""

    def __init__(self) -> None:
        self.tests: deque[tuple[int, WorkUnit]] = deque()
        self.workload = Workload()
        self.refused = False
        self.started_at = 0.0  # of the first of the tests

    def add(self, unit: WorkUnit) -> None:
        """Add a unit to what the worker has."""
        self.tests.extend((index, unit) for index in unit.indices)
        self.workload.add(unit, len(unit.indices))

    def finish(self, index: int) -> None:
        """Take a test away that has been run, as a rule the first."""
        for entry in self.tests:
            if entry[0] == index:
                self.tests.remove(entry)
                self.workload.add(entry[1], -1)
                break

    def rest(self) -> list[WorkUnit]:
        """Return what is left but for the first test, which may be running."""
        units: dict[WorkUnit, list[int]] = {}
        for index, unit in list(self.tests)[1:]:
            units.setdefault(unit, []).append(index)
        return [
            WorkUnit(tuple(indices), seconds_of(unit, len(indices)), unit.failed)
            for unit, indices in units.items()
        ]
