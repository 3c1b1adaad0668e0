"""What one worker of a job has been given to run, and how long it takes. Pure."""

from __future__ import annotations

from collections import deque

from pytest_valor_schedule.model.work_units import WorkUnit


def seconds_of(unit: WorkUnit, count: int) -> float | None:
    """Return what so many of the tests of a unit are expected to take."""
    return None if unit.seconds is None else unit.seconds * count / len(unit.indices)


class Work:
    """How much work there is, kept as it changes: it is asked for after each test."""

    def __init__(self) -> None:
        self._known = 0.0
        self._unknown = 0

    def add(self, unit: WorkUnit, tests: int) -> None:
        """Count so many of a unit's tests, or no longer if negative."""
        part = seconds_of(unit, tests)
        if part is None:
            self._unknown += tests
        else:
            self._known += part

    def seconds(self, guess: float) -> float:
        """Return how long it takes, where an unknown test takes so long as guessed."""
        return self._known + self._unknown * guess


class WorkerQueue:
    """What one worker has been given and has not finished, in the order in which it runs it."""

    def __init__(self) -> None:
        self.tests: deque[tuple[int, WorkUnit]] = deque()
        self.work = Work()
        self.refused = False
        self.since = 0.0  # when the first of the tests began

    def give(self, unit: WorkUnit) -> None:
        """Add a unit to what the worker has."""
        self.tests.extend((index, unit) for index in unit.indices)
        self.work.add(unit, len(unit.indices))

    def finish(self, index: int) -> None:
        """Take a test away that has been run, as a rule the first."""
        for entry in self.tests:
            if entry[0] == index:
                self.tests.remove(entry)
                self.work.add(entry[1], -1)
                break

    def rest(self) -> list[WorkUnit]:
        """Return what is left but for the first test, which may be running."""
        left: dict[WorkUnit, list[int]] = {}
        for index, unit in list(self.tests)[1:]:
            left.setdefault(unit, []).append(index)
        return [
            WorkUnit(tuple(indices), seconds_of(unit, len(indices)), unit.failed)
            for unit, indices in left.items()
        ]
