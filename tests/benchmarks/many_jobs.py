"""What the queue costs with few and with many jobs in the home, and beside huey's.

`python tests/benchmarks/many_jobs.py [JOBS]`: each operation with 10 and with so many ended jobs in
the index, in milliseconds; and how long a job takes to be put into the queue and claimed, beside
huey's SQLite storage with durable writes (`pip install huey`; left out where it is missing).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring import HEAD, Row, home, numbers

from pytest_valor_schedule import cancel_job, get_job_status, list_jobs
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, Priority
from pytest_valor_schedule.model.result import Summary
from pytest_valor_schedule.queue.job_row import JobRow, insert
from pytest_valor_schedule.queue.store import JobStore

_TIMES = 40
_COUNTS = dict.fromkeys(
    ("failed", "errors", "skipped", "xfailed", "xpassed", "crashed", "not_run"), 0
)


def waiting(number: int) -> Job:
    """Return a job that has not started."""
    return Job(
        job_id=f"20260101-000000-{number:06x}",
        specification="pytest",
        launcher=("/usr/bin/python3", "-m", "pytest"),
        arguments=("tests", "-v"),
        cwd="/project",
        rootdir="/project",
        interpreter="/usr/bin/python3",
        priority=Priority.NORMAL,
        max_workers=2,
        timeout_minutes=10,
        test_count=1,
        estimated_seconds=1.0,
        created_at=1.0,
    )


def ended(number: int) -> Job:
    """Return a job that has ended."""
    return dataclasses.replace(
        waiting(number),
        job_id=f"20250101-000000-{number:06x}",
        status=JobStatus.COMPLETED,
        outcome=Outcome.PASSED,
        summary=Summary(total=1, passed=1, duration_seconds=1.0, **_COUNTS),
        started_at=1.0,
        completed_at=2.0,
    )


class Queue:
    """A home with so many ended jobs, and what is done in it."""

    def __init__(self, folder: Path, count: int) -> None:
        self._count = count
        self._variables = {"VALOR_HOME": str(folder / str(count))}
        self._new = map(waiting, itertools.count())
        self._added = list[Job]()
        self._store = JobStore(Home.find(self._variables))
        with self._store.database.transaction() as connection:
            for number in range(count):
                insert(connection, JobRow(job=ended(number), tests=["test_it.py::test_it"]))

    def operations(self) -> dict[str, Callable[[], object]]:
        """Return what is measured, by its name."""
        return {
            "schedule": self._schedule,
            "claim": self._claim,
            "status": lambda: get_job_status(ended(self._count // 2).job_id),
            "list": list_jobs,
            "list completed": lambda: list_jobs("completed"),
            "cancel (of an ended job)": lambda: cancel_job(ended(1).job_id),
        }

    def enter(self) -> None:
        """Make this home the one that the API uses."""
        os.environ.update(self._variables)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _schedule(self) -> None:
        self._added.append(next(self._new))
        assert self._store.add(self._added[-1], ["test_it.py::test_it"], {})

    def _claim(self) -> None:
        job = self._added.pop()
        assert self._store.change(job.job_id, JobStatus.SCHEDULED, status=JobStatus.COMPLETED)


def huey(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the same of huey; nothing where it is not installed."""
    try:
        from huey.storage import SqliteStorage  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return {}
    storage = SqliteStorage(filename=str(folder / "huey.db"), fsync=True)
    document = b"x" * 1500  # about what a job of ours takes
    return {"schedule": lambda: storage.enqueue(document), "claim": storage.dequeue}


def milliseconds(operation: Callable[[], object], before: Callable[[], object]) -> float:
    """Return how long an operation takes."""
    before()
    begin = time.perf_counter()
    operation()
    return (time.perf_counter() - begin) * 1000


def medians(*those: tuple[Callable[[], object], Callable[[], object]]) -> list[float]:
    """Return the median time of each operation, done in turns; each comes with what precedes it."""
    rounds = [[milliseconds(*one) for one in those] for _ in range(_TIMES)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def measure(count: int) -> Iterator[Row]:
    """Yield the rows."""
    with home() as folder:
        few, many, peer = Queue(folder, 10), Queue(folder, count), huey(folder)
        for name, operation in few.operations().items():
            same = many.operations()[name]
            ours, large = medians((operation, few.enter), (same, many.enter))
            yield Row(f"{name} with {count:,} jobs", "with 10 jobs", large, ours, "ms", 1.25)
        for name, operation in peer.items():
            ours, theirs = medians((few.operations()[name], few.enter), (operation, few.enter))
            yield Row(name, "huey, durable", ours, theirs, "ms", 1.0)
        few.close()
        many.close()


def main() -> None:
    """Measure and print."""
    print(HEAD, *(row.text() for row in measure(*numbers(sys.argv[1:], 100_000))), sep="\n")


if __name__ == "__main__":
    main()
