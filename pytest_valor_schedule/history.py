"""How long tests took: learn it, and estimate from it."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence

from pytest_valor_schedule.database import Database

_WEIGHT = 0.5  # of the newest run, in the exponentially weighted mean
_UNKNOWN_SECONDS = 0.05
_STARTUP_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """How long a job is expected to run."""

    seconds: float
    runs: int

    @property
    def basis(self) -> str:
        """What the estimate rests on, for people."""
        if not self.runs:
            return "no history yet"
        return "from 1 run" if self.runs == 1 else f"from {self.runs} runs"


class History:
    """Durations of a project's tests, in the database of the queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def learn(self, project: str, seconds: Mapping[str, float], now: float) -> None:
        """Take in the durations of one run.

        Args:
            project: The root directory.
            seconds: Node id to duration of setup, call and teardown together.
            now: Seconds since the epoch.
        """
        rows = [(project, _storable(nodeid), value, now) for nodeid, value in seconds.items()]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO durations VALUES (?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET"
                f" seconds = seconds + {_WEIGHT} * (excluded.seconds - seconds),"
                " runs = runs + 1, seen_at = excluded.seen_at",
                rows,
            )

    def estimate(self, project: str, nodeids: Sequence[str], workers: int) -> Estimate:
        """Return how long these tests will take with so many workers."""
        with self._database.reading() as connection:
            query = "SELECT nodeid, seconds, runs FROM durations WHERE project = ?"
            rows = connection.execute(query, (project,)).fetchall()
        known = {row["nodeid"]: row for row in rows}
        found = [known.get(_storable(nodeid)) for nodeid in nodeids]
        wanted = [row and row["seconds"] for row in found]
        runs = max((row["runs"] for row in found if row), default=0)
        return Estimate(_STARTUP_SECONDS + makespan(_filled(wanted), workers), runs)


def _storable(nodeid: str) -> str:
    """Return a node id as SQLite can keep it: without lone surrogates."""
    return nodeid.encode(errors="backslashreplace").decode()


def _filled(seconds: Sequence[float | None]) -> list[float]:
    """Count unknown tests as the 90th percentile of the known ones."""
    known = sorted(value for value in seconds if value is not None)
    unknown = known[int(0.9 * (len(known) - 1))] if known else _UNKNOWN_SECONDS
    return [unknown if value is None else value for value in seconds]


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Return the time at which the last worker ends when the longest tests go first.

    This is list scheduling by longest processing time (Graham, 1969).
    """
    ends = [0.0] * workers
    for value in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + value)
    return max(ends)
