"""What tests and runs were like: learn it, and estimate from it."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.work_units import PastRun, fill_unknown
from pytest_valor_schedule.queue.database import Database
from pytest_valor_schedule.queue.guess import Guess, Spread, by_file
from pytest_valor_schedule.queue.job_row import storable

_WEIGHT = 0.5  # of the newest run, in the exponentially weighted mean
_UNKNOWN_SECONDS = 0.05  # of a test, where nothing is known
_ROWS_AT_ONCE = 2000
_OVERHEAD_SECONDS = 1.0
_UNKNOWN_BYTES = 64 * 2**20  # of one process
_MOST_PROJECTS, _MOST_TESTS = 50, 300  # of each, that a guess looks at


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """How long a job is expected to run, and with how much memory.

    Attributes:
        seconds: What the queue reckons with.
        runs: How many runs of these tests it rests on; 0 for none, and then it is no more than a
            guess.
        memory_bytes: At the peak, of all processes.
        useful_workers: How many pay; None if that is not known.
        spread: For a job without history what it may take; None where too little is known to say.
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
    """What a project's tests and runs were like, in the database of the queue.

    It reads the tests of a project once, so it is made anew for each use.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[str, dict[str, sqlite3.Row]] = {}

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
        self._read.pop(project, None)
        rows = (
            (project, storable(nodeid), value, nodeid in bad, now)
            for nodeid, value in seconds.items()
        )
        # In pieces: others want to write too.
        while piece := list(islice(rows, _ROWS_AT_ONCE)):
            with self._database.transaction() as connection:
                connection.executemany(_LEARN_TEST, piece)
        if run is not None:
            with self._database.transaction() as connection:
                connection.execute(_LEARN_RUN, {**dataclasses.asdict(run), "p": project, "n": now})

    def known(self, project: str, nodeids: Iterable[str]) -> dict[str, PastRun]:
        """Return what is known of a project's tests, with what lies between them, by node id."""
        rows = self._rows(project)
        gap = self._whole(project, "").gap
        found = ((nodeid, rows.get(storable(nodeid))) for nodeid in nodeids)
        return {
            nodeid: PastRun(row["seconds"] + gap, bool(row["failed"]))
            for nodeid, row in found
            if row is not None
        }

    def _rows(self, project: str) -> dict[str, sqlite3.Row]:
        if project not in self._read:
            query = "SELECT nodeid, seconds, runs, failed FROM durations WHERE project = ?"
            with self._database.reading() as connection:
                rows = connection.execute(query, (project,)).fetchall()
            self._read[project] = {row["nodeid"]: row for row in rows}
        return self._read[project]

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
        rests_on = [row["runs"] for row in found if row is not None]
        whole = self._whole(project, selected)
        if not rests_on or len(rests_on) < len(nodeids) / 2:  # the most of it would be a guess
            memory = round(whole.memory * (1 + most_workers))
            return _guessed(self._guess(project, rows), len(nodeids), most_workers, memory)
        seconds = [
            each + whole.gap
            for each in fill_unknown(
                [None if row is None else row["seconds"] for row in found], 0.0
            )
        ]
        useful = useful_workers(sum(seconds), whole.overhead, most_workers)
        memory = round(whole.memory * (1 + useful))
        expected = whole.overhead + makespan(seconds, useful)
        return Estimate(expected, max(rests_on), memory, useful)

    def _guess(self, project: str, rows: Mapping[str, sqlite3.Row]) -> Guess | None:
        """Return what is guessed of tests without history, by the project's others or by others.

        None if there are too few of both.
        """
        own = Spread.of(by_file({nodeid: row["seconds"] for nodeid, row in rows.items()}))
        if own is not None:
            seconds = self._whole(project, "").overhead
            return Guess(own, Spread(*[seconds] * 3), "guessed from other tests of the project")
        others = self._other_projects(project)
        overhead = Spread.of(overhead for overhead, _ in others)
        each = Spread.of(seconds for _, seconds in others)
        if each is None or overhead is None:
            return None
        return Guess(each, overhead, f"guessed from {len(others)} other projects")

    def _other_projects(self, project: str) -> list[tuple[float, float]]:
        """Return overhead and seconds of a test, of the other projects that were run lately."""
        with self._database.reading() as connection:
            found = connection.execute(_LATEST, (project, _MOST_PROJECTS)).fetchall()
            means = [
                connection.execute(_MEAN, (row["project"], _MOST_TESTS)).fetchone()[0]
                for row in found
            ]
        return [
            (row["overhead_seconds"], mean + (row["gap_seconds"] or 0.0))
            for row, mean in zip(found, means, strict=True)
            if mean is not None
        ]

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


def _guessed(guess: Guess | None, tests: int, workers: int, memory: int) -> Estimate:
    """Return the estimate of a job without history.

    The queue reckons with the middle, as tests/simulate.py tells: as soon as the job runs its pace
    counts, and who is taken for longer than he is waits longer than he need.
    """
    if guess is None:
        return Estimate(_OVERHEAD_SECONDS + tests / workers * _UNKNOWN_SECONDS, 0, memory)
    spread = guess.of(tests, workers)
    return Estimate(spread.middle, 0, memory, spread=spread, source=guess.source)


_LATEST = """
SELECT project, overhead_seconds, gap_seconds, max(seen_at) FROM runs
WHERE project <> ? AND overhead_seconds IS NOT NULL
GROUP BY project ORDER BY max(seen_at) DESC LIMIT ?
"""
_MEAN = "SELECT avg(seconds) FROM (SELECT seconds FROM durations WHERE project = ? LIMIT ?)"
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
