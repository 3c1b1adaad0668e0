"""How well the tests of a job are spread over its workers.

`python tests/benchmarks/distribution.py [ROUNDS]`: 200 tests of lognormal length and one of 5 s
that is collected last; files, of which the one with the longest tests is collected last; and 3,000
empty tests. Time from the first test to the last, on the second run and later, beside `pytest -n`.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measuring import HEAD, Row, direct, home, in_turns, job, makespan, numbers

LONGEST = 5.0
_TOTAL = 16.23
_TIMES = """
import os, time
import pytest

def _note(name):
    if path := os.environ.get("BENCHMARK_TIMES"):
        with open(path, "a") as file:
            print(time.time(), file=file)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid):
    _note("start")

@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid):
    _note("end")
"""


def lengths() -> list[float]:
    """Return the lengths of the tests, the longest last."""
    dice = random.Random(7)
    drawn = [min(dice.lognormvariate(-3.3, 0.9), 1.0) for _ in range(200)]
    return [each * (_TOTAL - LONGEST) / sum(drawn) for each in drawn] + [LONGEST]


def write(folder: Path, files: dict[str, list[float]]) -> Path:
    """Write a project of tests that sleep."""
    folder.mkdir()
    (folder / "conftest.py").write_text(_TIMES)
    for name, seconds in files.items():
        (folder / f"test_{name}.py").write_text(
            f"import time, pytest\nLENGTHS = {seconds}\n"
            "@pytest.mark.parametrize('n', range(len(LENGTHS)))\n"
            "def test_it(n):\n    LENGTHS[n] and time.sleep(LENGTHS[n])\n"
        )
    return folder


def spread(project: Path, *arguments: str) -> float:
    """Return the time from the first test to the last of a direct run."""
    times = project / "times"
    times.unlink(missing_ok=True)
    _with_times(times, lambda: direct(project, *arguments))
    moments = [float(line) for line in times.read_text().split()]
    return max(moments) - min(moments)


def _with_times(times: Path, run: Callable[[], float]) -> None:
    os.environ["BENCHMARK_TIMES"] = str(times)
    try:
        run()
    finally:
        del os.environ["BENCHMARK_TIMES"]


def _compare(
    name: str, project: Path, workers: int, rounds: int, goal: float, *dists: str
) -> tuple[Row, float]:
    ways = {
        dist: lambda dist=dist: spread(project, "-n", str(workers), "--dist", dist)
        for dist in dists
    }
    kept = dists if dists == ("loadfile",) else ("load",)
    found = in_turns(
        rounds, ours=lambda: makespan(job(project, workers, "--dist", kept[0])), **ways
    )
    ours = found.pop("ours")
    best = min(found, key=lambda each: found[each])
    return Row(f"{name}, -n {workers}", f"--dist {best}", ours, found[best], "s", goal), ours


def measure(rounds: int) -> list[Row]:
    """Return the rows."""
    rows = []
    with home(VALOR_SCHEDULE_SLOTS="4") as folder:
        skewed = write(folder / "skewed", {"it": lengths()})
        for workers, goal in ((2, 0.80), (4, 0.70)):
            row, ours = _compare("skewed suite", skewed, workers, rounds, goal, "load", "worksteal")
            bound = max(LONGEST, _TOTAL / workers)
            rows += [row, Row(f"skewed suite, -n {workers}", "lower bound", ours, bound, "s", 1.06)]
        files = {f"{n:02}": [0.03] * (4 + n) for n in range(20)} | {"z": [1.0] * 3}
        skewed_files = write(folder / "files", files)
        rows.append(_compare("skewed files, loadfile", skewed_files, 2, rounds, 0.9, "loadfile")[0])
        empty = write(folder / "empty", {"it": [0.0] * 3000})
        rows.append(_compare("3,000 empty tests", empty, 2, rounds, 1.0, "load", "worksteal")[0])
    return rows


def main() -> None:
    """Measure and print."""
    [rounds] = numbers(sys.argv[1:], 3)
    print(time.strftime("%H:%M:%S"), HEAD, *(row.text() for row in measure(rounds)), sep="\n")


if __name__ == "__main__":
    main()
