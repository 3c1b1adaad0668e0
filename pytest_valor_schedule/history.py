"""What tests and runs were like: learn it, and estimate from it."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

from pytest_valor_schedule.database import Database

_WEIGHT = 0.5  # of the newest run, in the exponentially weighted mean
_UNKNOWN_SECONDS = 0.05
_STARTUP_SECONDS = 1.0
_UNKNOWN_BYTES = 64 * 2**20  # of one process


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """How long a job is expected to run, and with how much memory."""

    seconds: float
    runs: int
    memory_bytes: int = 0

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
        startup_seconds: From the start of pytest to that of the first test.
        peak_memory_bytes: The most that all its processes used together.
    """

    selection: str
    workers: int
    startup_seconds: float | None = None
    peak_memory_bytes: float | None = None


def selection(arguments: Iterable[str]) -> str:
    """Return a text that is equal for runs of the same arguments."""
    return hashlib.sha256("\0".join(arguments).encode(errors="surrogatepass")).hexdigest()[:16]


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
            project: The root directory.
            seconds: Node id to duration of setup, call and teardown together.
            now: Seconds since the epoch.
            failed: The node ids that failed.
            run: The whole.
        """
        bad = set(failed)
        rows = [
            (project, _storable(nodeid), value, nodeid in bad, now)
            for nodeid, value in seconds.items()
        ]
        with self._database.transaction() as connection:
            connection.executemany(_LEARN_TEST, rows)
            if run is not None:
                connection.execute(_LEARN_RUN, {**dataclasses.asdict(run), "p": project, "n": now})

    def estimate(
        self, project: str, nodeids: Sequence[str], workers: int, selected: str = ""
    ) -> Estimate:
        """Return how long these tests will take with so many workers, and with how much memory.

        Args:
            project: The root directory.
            nodeids: The tests.
            workers: How many will run them.
            selected: `selection` of the arguments.
        """
        with self._database.reading() as connection:
            query = "SELECT nodeid, seconds, runs FROM durations WHERE project = ?"
            rows = connection.execute(query, (project,)).fetchall()
        known = {row["nodeid"]: row for row in rows}
        found = [known.get(_storable(nodeid)) for nodeid in nodeids]
        wanted = [row and row["seconds"] for row in found]
        runs = max((row["runs"] for row in found if row), default=0)
        seconds = makespan(_filled(wanted), workers)
        startup, memory = self._whole(project, selected, workers)
        return Estimate(startup + seconds, runs, memory)

    def _whole(self, project: str, selected: str, workers: int) -> tuple[float, int]:
        """Return the expected start-up in seconds, and the peak of memory in bytes."""
        query = "SELECT * FROM runs WHERE project = ? ORDER BY selection = ? DESC, seen_at DESC"
        with self._database.reading() as connection:
            rows = connection.execute(query, (project, selected)).fetchall()
        startups = [row["startup_seconds"] for row in rows if row["startup_seconds"] is not None]
        same = [row for row in rows if row["selection"] == selected] or rows
        for_each = max(
            (r["peak_memory_bytes"] / (1 + r["workers"]) for r in same if r["peak_memory_bytes"]),
            default=_UNKNOWN_BYTES,
        )
        return next(iter(startups), _STARTUP_SECONDS), round(for_each * (1 + workers))


_LEARN_TEST = f"""
INSERT INTO durations (project, nodeid, seconds, runs, failed, seen_at) VALUES (?, ?, ?, 1, ?, ?)
ON CONFLICT DO UPDATE SET seconds = seconds + {_WEIGHT} * (excluded.seconds - seconds),
    runs = runs + 1, failed = excluded.failed, seen_at = excluded.seen_at
"""
# A peak rises at once and sinks slowly: too much memory harms more than a wait.
_LEARN_RUN = f"""
INSERT INTO runs (project, selection, workers, startup_seconds, peak_memory_bytes, seen_at)
VALUES (:p, :selection, :workers, :startup_seconds, :peak_memory_bytes, :n)
ON CONFLICT DO UPDATE SET workers = excluded.workers, seen_at = excluded.seen_at,
    startup_seconds = coalesce(
        startup_seconds + {_WEIGHT} * (excluded.startup_seconds - startup_seconds),
        excluded.startup_seconds, startup_seconds),
    peak_memory_bytes = coalesce(
        max(excluded.peak_memory_bytes, {_WEIGHT} * (excluded.peak_memory_bytes
            + peak_memory_bytes / (1 + workers) * (1 + excluded.workers))),
        excluded.peak_memory_bytes, peak_memory_bytes)
"""


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
