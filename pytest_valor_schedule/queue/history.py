"""Learn from runs what tests and whole runs are like, and read it for estimates."""

from __future__ import annotations

import dataclasses
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice

from pytest_valor_schedule.model.work_units import PastRun
from pytest_valor_schedule.queue import estimate
from pytest_valor_schedule.queue.database import Database, storable
from pytest_valor_schedule.queue.estimate import Estimate, RunNorms, Spread

_WEIGHT = 0.5  # of the newest run, in the exponentially weighted mean
_ROWS_AT_ONCE = 2000
_MOST_ROWS = 500_000  # of a table
_MOST_PROJECTS, _MOST_TESTS = 50, 300  # of each, that a guess looks at


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a job was like as a whole.

    Attributes:
        selection: Digest of its arguments; see `selection_key`.
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


def selection_key(arguments: Iterable[str]) -> str:
    """Return a text that is equal for runs of the same arguments."""
    return hashlib.sha256("\0".join(arguments).encode(errors="surrogatepass")).hexdigest()[:16]


class History:
    """What a project's tests and runs were like, in the database of the queue.

    A project is named by `project.project_of`. Its tests are read once, so this is made anew for
    each use.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tests: dict[str, dict[str, sqlite3.Row]] = {}

    def learn(
        self,
        project: str,
        seconds: Mapping[str, float],
        now: float,
        failures: Set[str] = frozenset(),
        run: Run | None = None,
    ) -> None:
        """Take in one run, by node id the seconds of setup, call and teardown together."""
        self._tests.pop(project, None)
        rows = (
            (project, storable(nodeid), value, nodeid in failures, now)
            for nodeid, value in seconds.items()
        )
        # In pieces: others want to write too.
        while piece := list(islice(rows, _ROWS_AT_ONCE)):
            with self._database.transaction() as connection:
                connection.executemany(_LEARN_TEST, piece)
        if run is not None:
            with self._database.transaction() as connection:
                connection.execute(_LEARN_RUN, {**dataclasses.asdict(run), "p": project, "n": now})

    def durations(self, project: str, nodeids: Iterable[str]) -> dict[str, PastRun]:
        """Return what the tests of a project took, with what lies between them, by node id.

        Those that have not run yet are left out.
        """
        rows, gap = self._rows(project), self._norms(project).gap
        return {
            nodeid: PastRun(row["seconds"] + gap, bool(row["failed"]))
            for nodeid in nodeids
            if (row := rows.get(storable(nodeid))) is not None
        }

    def _rows(self, project: str) -> dict[str, sqlite3.Row]:
        if project not in self._tests:
            query = "SELECT nodeid, seconds, runs, failed FROM durations WHERE project = ?"
            with self._database.reading() as connection:
                rows = connection.execute(query, (project,)).fetchall()
            self._tests[project] = {row["nodeid"]: row for row in rows}
        return self._tests[project]

    def estimate(
        self, project: str, nodeids: Sequence[str], most_workers: int, selection: str = ""
    ) -> Estimate:
        """Return how long these tests will take, with how many workers and how much memory.

        The selection is `selection_key` of the arguments.
        """
        rows = self._rows(project)
        tests = [rows.get(storable(nodeid)) for nodeid in nodeids]
        runs = [row["runs"] for row in tests if row is not None]
        norms = self._norms(project, selection)
        if not runs or len(runs) < len(nodeids) / 2:  # the most of it would be a guess
            spread, source = self._guess(project, rows, len(nodeids) / most_workers)
            return estimate.without_history(spread, source, len(nodeids), norms, most_workers)
        seconds = [None if row is None else row["seconds"] for row in tests]
        return estimate.from_history(seconds, max(runs), norms, most_workers)

    def _guess(
        self, project: str, rows: Mapping[str, sqlite3.Row], share: float
    ) -> tuple[Spread | None, str]:
        """Return what a run may take of which each worker has so many tests without history.

        It is guessed by the project's other tests or by other projects, and that is told too.
        There is no such guess if there are too few of both.
        """
        files = estimate.by_file({nodeid: row["seconds"] for nodeid, row in rows.items()})
        own = Spread.of(files)
        if own is not None:
            seconds = self._norms(project).overhead
            spread = Spread(*[seconds] * 3).plus(share, own)
            return spread, "guessed from other tests of the project"
        others = self._other_projects(project)
        overhead = Spread.of(overhead for overhead, _ in others)
        each = Spread.of(seconds for _, seconds in others)
        if each is None or overhead is None:
            return None, ""
        return overhead.plus(share, each), f"guessed from {len(others)} other projects"

    def _other_projects(self, project: str) -> list[tuple[float, float]]:
        """Return overhead and seconds of a test, of the other projects that were run lately."""
        with self._database.reading() as connection:
            values = (project, _MOST_PROJECTS, _MOST_TESTS)
            return [tuple(row) for row in connection.execute(_OTHERS, values)]

    def _norms(self, project: str, selection: str = "") -> RunNorms:
        """Return what runs of a project were like, those of the same arguments before others."""
        query = "SELECT * FROM runs WHERE project = ? ORDER BY selection = ? DESC, seen_at DESC"
        with self._database.reading() as connection:
            rows = connection.execute(query, (project, selection)).fetchall()
        overheads = [r["overhead_seconds"] for r in rows if r["overhead_seconds"] is not None]
        gaps = [r["gap_seconds"] for r in rows if r["gap_seconds"] is not None]
        same = [row for row in rows if row["selection"] == selection] or rows
        sizes = [
            r["peak_memory_bytes"] / (1 + r["workers"]) for r in same if r["peak_memory_bytes"]
        ]
        unknown = RunNorms()
        return RunNorms(
            next(iter(overheads), unknown.overhead),
            next(iter(gaps), unknown.gap),
            max(sizes, default=unknown.memory),
        )

    def count_outdated(self, before: float) -> int:
        """Return of how many tests `forget` would forget the durations."""
        query = "SELECT max(total(seen_at < ?), count(*) - ?) FROM durations"
        with self._database.reading() as connection:
            return int(connection.execute(query, (before, _MOST_ROWS)).fetchone()[0])

    def forget(self, before: float) -> None:
        """Forget tests and runs that were not seen since a time in epoch seconds."""
        with self._database.transaction() as connection:
            for table in ("durations", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE seen_at < ?", (before,))
                connection.execute(_SHORTEN.format(table), (_MOST_ROWS,))


_OTHERS = """
WITH latest AS (
    SELECT project, overhead_seconds, gap_seconds, max(seen_at) FROM runs
    WHERE project <> ? AND overhead_seconds IS NOT NULL
    GROUP BY project ORDER BY max(seen_at) DESC LIMIT ?
)
SELECT overhead_seconds, coalesce(gap_seconds, 0) + (
    SELECT avg(seconds) FROM (SELECT seconds FROM durations WHERE project = latest.project LIMIT ?)
) AS seconds FROM latest WHERE seconds IS NOT NULL
"""
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
_SHORTEN = """
DELETE FROM {0} WHERE seen_at < (SELECT seen_at FROM {0} ORDER BY seen_at DESC LIMIT 1 OFFSET ?)
"""
