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
from collections.abc import Callable
from pathlib import Path

from measuring import HEAD, Row, home, numbers

from pytest_valor_schedule import cancel_job, get_job_status, list_jobs
from pytest_valor_schedule.entry import Entry, insert
from pytest_valor_schedule.job import Job, JobStatus, Outcome, Priority, Summary
from pytest_valor_schedule.settings import Home
from pytest_valor_schedule.store import JobStore

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


def milliseconds(operation: Callable[[], object]) -> float:
    """Return the median of how long an operation takes."""
    times = []
    for _ in range(_TIMES):
        begin = time.perf_counter()
        operation()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def costs(folder: Path, count: int) -> dict[str, float]:
    """Return what each operation costs with so many jobs in a home."""
    os.environ["VALOR_HOME"] = str(folder / str(count))
    with JobStore(Home(Path(os.environ["VALOR_HOME"]))) as store:
        with store.database.transaction() as connection:
            for number in range(count):
                insert(connection, Entry(job=ended(number), tests=["test_it.py::test_it"]))
        new = map(waiting, itertools.count())
        added = list[Job]()

        def schedule() -> None:
            added.append(next(new))
            assert store.add(added[-1], ["test_it.py::test_it"], {})

        def claim() -> None:
            job = added.pop()
            assert store.change(job.job_id, JobStatus.SCHEDULED, status=JobStatus.COMPLETED)

        return {
            "schedule": milliseconds(schedule),
            "claim": milliseconds(claim),
            "status": milliseconds(lambda: get_job_status(ended(count // 2).job_id)),
            "list": milliseconds(list_jobs),
            "list completed": milliseconds(lambda: list_jobs("completed")),
            "cancel (of an ended job)": milliseconds(lambda: cancel_job(ended(1).job_id)),
        }


def huey(folder: Path) -> dict[str, float]:
    """Return what huey takes for the same; nothing where it is not installed."""
    try:
        from huey.storage import SqliteStorage  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return {}
    storage = SqliteStorage(filename=str(folder / "huey.db"), fsync=True)
    document = b"x" * 1500  # about what a job of ours takes
    return {
        "schedule": milliseconds(lambda: storage.enqueue(document)),
        "claim": milliseconds(storage.dequeue),
    }


def measure(count: int) -> list[Row]:
    """Return the rows."""
    with home() as folder:
        few, many, peer = costs(folder, 10), costs(folder, count), huey(folder)
    rows = [
        Row(f"{name} with {count:,} jobs", "with 10 jobs", many[name], few[name], "ms", 1.25)
        for name in few
    ]
    return rows + [
        Row(f"{name}", "huey, durable", few[name], peer[name], "ms", 1.0) for name in peer
    ]


def main() -> None:
    """Measure and print."""
    print(HEAD, *(row.text() for row in measure(*numbers(sys.argv[1:], 100_000))), sep="\n")


if __name__ == "__main__":
    main()
