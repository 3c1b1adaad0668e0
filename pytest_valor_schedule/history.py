"""What tests and runs were like: learn it, and estimate from it."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pytest_valor_schedule.database import Database
from pytest_valor_schedule.entry import storable
from pytest_valor_schedule.units import Known, filled

_WEIGHT = 0.5  # of the newest run, in the exponentially weighted mean
_UNKNOWN_SECONDS = 0.05
_OVERHEAD_SECONDS = 1.0
_UNKNOWN_BYTES = 64 * 2**20  # of one process


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """How long a job is expected to run, and with how much memory."""

    seconds: float
    runs: int
    memory_bytes: int = 0
    useful_workers: int | None = None

    @property
    def basis(self) -> str:
        """What the estimate rests on, for people."""
        if not self.runs:
            return "no history yet"
        return "from 1 run" if self.runs == 1 else f"from {self.runs} runs"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a job was like as a whole.

    Attributes:
        selection: Digest of its arguments; see `selection`.
        workers: How many it had.
        overhead_seconds: What it took besides its tests: the start of pytest, and its end.
        gap_seconds: From the end of a test to the start of the next in the same worker.
        peak_memory_bytes: The most that all its processes used together.
    """

    selection: str
    workers: int
    overhead_seconds: float | None = None
    gap_seconds: float | None = None
    peak_memory_bytes: float | None = None


def selection(arguments: Iterable[str]) -> str:
    """Return a text that is equal for runs of the same arguments."""
    return hashlib.sha256("\0".join(arguments).encode(errors="surrogatepass")).hexdigest()[:16]


class _Whole(NamedTuple):
    """What runs are like: seconds besides the tests and between two of them, bytes a process."""

    overhead: float
    gap: float
    memory: float


class History:
    """What a project's tests and runs were like, in the database of the queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def learn(
        self,
        project: str,
        seconds: Mapping[str, float],
        now: float,
        failed: Collection[str] = (),
        run: Run | None = None,
    ) -> None:
        """Take in one run.

        Args:
            project: What `project.project_of` returns.
            seconds: Node id to duration of setup, call and teardown together.
            now: Seconds since the epoch.
            failed: The node ids that failed.
            run: The whole.
        """
        bad = set(failed)
        rows = [
            (project, storable(nodeid), value, nodeid in bad, now)
            for nodeid, value in seconds.items()
        ]
        with self._database.transaction() as connection:
            connection.executemany(_LEARN_TEST, rows)
            if run is not None:
                connection.execute(_LEARN_RUN, {**dataclasses.asdict(run), "p": project, "n": now})

    def known(self, project: str, nodeids: Iterable[str]) -> dict[str, Known]:
        """Return what is known of a project's tests, with what lies between them, by node id."""
        rows = self._rows(project)
        gap = self._whole(project, "").gap
        found = ((nodeid, rows.get(storable(nodeid))) for nodeid in nodeids)
        return {
            nodeid: Known(row["seconds"] + gap, bool(row["failed"]))
            for nodeid, row in found
            if row is not None
        }

    def _rows(self, project: str) -> dict[str, sqlite3.Row]:
        with self._database.reading() as connection:
            query = "SELECT nodeid, seconds, runs, failed FROM durations WHERE project = ?"
            return {row["nodeid"]: row for row in connection.execute(query, (project,))}

    def estimate(
        self, project: str, nodeids: Sequence[str], most_workers: int, selected: str = ""
    ) -> Estimate:
        """Return how long these tests will take, with how many workers and how much memory.

        Args:
            project: What `project.project_of` returns.
            nodeids: The tests.
            most_workers: How many may run them.
            selected: `selection` of the arguments.
        """
        rows = self._rows(project)
        found = [rows.get(storable(nodeid)) for nodeid in nodeids]
        runs = max((row["runs"] for row in found if row is not None), default=0)
        seconds = filled(
            [None if row is None else row["seconds"] for row in found], _UNKNOWN_SECONDS
        )
        whole = self._whole(project, selected)
        seconds = [each + whole.gap for each in seconds]
        useful = useful_workers(sum(seconds), whole.overhead, most_workers) if runs else None
        workers = useful or most_workers
        memory = round(whole.memory * (1 + workers))
        return Estimate(whole.overhead + makespan(seconds, workers), runs, memory, useful)

    def _whole(self, project: str, selected: str) -> _Whole:
        """Return what runs of a project were like, those of the same arguments before others."""
        query = "SELECT * FROM runs WHERE project = ? ORDER BY selection = ? DESC, seen_at DESC"
        with self._database.reading() as connection:
            rows = connection.execute(query, (project, selected)).fetchall()
        overheads = [r["overhead_seconds"] for r in rows if r["overhead_seconds"] is not None]
        gaps = [r["gap_seconds"] for r in rows if r["gap_seconds"] is not None]
        same = [row for row in rows if row["selection"] == selected] or rows
        for_each = max(
            (r["peak_memory_bytes"] / (1 + r["workers"]) for r in same if r["peak_memory_bytes"]),
            default=_UNKNOWN_BYTES,
        )
        return _Whole(next(iter(overheads), _OVERHEAD_SECONDS), next(iter(gaps), 0.0), for_each)


_LEARN_TEST = f"""
INSERT INTO durations (project, nodeid, seconds, runs, failed, seen_at) VALUES (?, ?, ?, 1, ?, ?)
ON CONFLICT DO UPDATE SET seconds = seconds + {_WEIGHT} * (excluded.seconds - seconds),
    runs = runs + 1, failed = excluded.failed, seen_at = excluded.seen_at
"""
# A peak rises at once and sinks slowly: too much memory harms more than a wait.
_LEARN_RUN = f"""
INSERT INTO runs
    (project, selection, workers, overhead_seconds, gap_seconds, peak_memory_bytes, seen_at)
VALUES (:p, :selection, :workers, :overhead_seconds, :gap_seconds, :peak_memory_bytes, :n)
ON CONFLICT DO UPDATE SET workers = excluded.workers, seen_at = excluded.seen_at,
    overhead_seconds = coalesce(
        overhead_seconds + {_WEIGHT} * (excluded.overhead_seconds - overhead_seconds),
        excluded.overhead_seconds, overhead_seconds),
    gap_seconds = coalesce(gap_seconds + {_WEIGHT} * (excluded.gap_seconds - gap_seconds),
        excluded.gap_seconds, gap_seconds),
    peak_memory_bytes = coalesce(
        max(excluded.peak_memory_bytes, {_WEIGHT} * (excluded.peak_memory_bytes
            + peak_memory_bytes / (1 + workers) * (1 + excluded.workers))),
        excluded.peak_memory_bytes, peak_memory_bytes)
"""


def useful_workers(seconds: float, overhead: float, most: int) -> int:
    """Return how many workers pay.

    One more pays as long as those there are would still be busy when it is ready, which takes
    about half of what a run takes besides its tests; the other half is the controller's.

    Args:
        seconds: What the tests take, one after the other.
        overhead: Seconds that a run takes besides its tests.
        most: How many there may be.
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
