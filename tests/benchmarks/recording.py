"""What it costs to record many tests: time and memory of a large job beside `--junit-xml`.

`python tests/benchmarks/recording.py [TESTS] [ROUNDS]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measuring import HEAD, QUIET, Row, home, in_turns, job, numbers, seconds_in_queue_and_run

from pytest_valor_schedule.process import memory

SUITE = """
import pytest
@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    pass
"""
_MEGABYTE = 2**20


def junit(project: Path, peaks: list[float]) -> float:
    """Run pytest with a report file; note the peak of memory and return the time."""
    command = [sys.executable, "-m", "pytest", *QUIET, "-n", "2", "--junit-xml=report.xml"]
    begin, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory.used_by_children(os.getpid()))
            time.sleep(0.2)
    peaks.append(peak / _MEGABYTE)
    return time.perf_counter() - begin


def queued(project: Path, peaks: list[float]) -> float:
    """Run the same through the queue."""
    status = job(project, 2)
    peaks.append(status["peak_memory_bytes"] / _MEGABYTE)
    return seconds_in_queue_and_run(status)


def measure(count: int, rounds: int) -> list[Row]:
    """Return the rows."""
    with home(VALOR_SCHEDULE_SLOTS="2") as folder:
        project = folder / "many"
        project.mkdir()
        (project / "test_it.py").write_text(SUITE.format(count=count))
        ours, theirs = list[float](), list[float]()

        def bound(way: Callable[[Path, list[float]], float], peaks: list[float]) -> float:
            return way(project, peaks)

        found = in_turns(
            rounds, ours=lambda: bound(queued, ours), theirs=lambda: bound(junit, theirs)
        )
    name = f"{count:,} tests, -n 2"
    return [
        Row(f"{name}: time", "pytest -n --junit-xml", found["ours"], found["theirs"], "s", 1.02),
        Row(f"{name}: memory", "pytest -n --junit-xml", max(ours), max(theirs), "MB", 1.0),
    ]


def main() -> None:
    """Measure and print."""
    print(HEAD, *(row.text() for row in measure(*numbers(sys.argv[1:], 20_000, 3))), sep="\n")


if __name__ == "__main__":
    main()
