"""What it costs to have the package, and how soon a job's pytest starts.

`python tests/benchmarks/starting.py [TIMES]`: milliseconds, beside the limits that we have set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import HEAD, Row, direct, home, in_turns, job, moment, numbers

_SUITE = "def test_it():\n    pass\n"
_CONFTEST = """
import os, pathlib
if "VALOR_SCHEDULE_JOB_ID" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    pathlib.Path(os.environ["BENCHMARK_STARTED"]).write_text(str(int(fields[19]) / ticks))
"""


def _packages(times: int) -> list[Row]:
    found = in_turns(
        times,
        bare=lambda: _command(sys.executable, "-c", "pass"),
        imported=lambda: _command(sys.executable, "-c", "import pytest_valor_schedule"),
        listed=lambda: _command(sys.executable, "-m", "pytest_valor_schedule", "list"),
    )
    extra = found["imported"] - found["bare"]
    return [
        Row("import pytest_valor_schedule", "limit over bare python", extra, 30, "ms", 1.0),
        Row("valor-schedule list, cold", "limit", found["listed"], 100, "ms", 1.0),
    ]


def _unused(project: Path, times: int) -> Row:
    found = in_turns(
        3 * times,  # a small difference of two large numbers
        ours=lambda: direct(project) * 1000,
        without=lambda: direct(project, "-p", "no:valor_schedule") * 1000,
    )
    extra = found["ours"] - found["without"]
    return Row("plugin installed but unused", "limit over a run without", extra, 5, "ms", 1.0)


def _ways(project: Path, times: int) -> list[Row]:
    """Return the times from a job's row to its pytest, and from its last test to its end."""
    started, ended = list[float](), list[float]()
    for _ in range(times + 1):
        status = job(project, 1)
        born = float(Path(os.environ["BENCHMARK_STARTED"]).read_text())
        born += time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started.append((born - moment(status, "created_at")) * 1000)
        [test] = status["results"]
        last = moment(test, "started_at") + float(test["duration_seconds"])
        ended.append((moment(status, "completed_at") - last) * 1000)
    live, first = sorted(started[1:])[times // 2], started[0]
    return [
        Row("from the queue to its pytest, live", "limit", live, 30, "ms", 1.0),
        Row("from the queue to its pytest, first", "limit", first, 150, "ms", 1.0),
        Row("from the last test to completed", "limit", sorted(ended)[times // 2], 100, "ms", 1.0),
    ]


def _handed_over(project: Path, times: int) -> Iterator[Row]:
    """Yield how long `valor-schedule run` takes, beside a queue that looks at nothing it gets."""
    if shutil.which("tsp") is None:
        return
    os.environ["TS_SOCKET"] = f"{project}/tsp.socket"
    pytest = [sys.executable, "-m", "pytest", "-q", str(project)]
    try:
        found = in_turns(
            times,
            ours=lambda: _command(
                sys.executable, "-m", "pytest_valor_schedule", "run", str(project)
            ),
            theirs=lambda: _command("tsp", *pytest),
        )
    finally:
        subprocess.run(["tsp", "-K"], check=False)
    yield Row("valor-schedule run", "task-spooler", found["ours"], found["theirs"], "ms")


def _command(*words: str) -> float:
    begin = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1000


def measure(times: int) -> list[Row]:
    """Return the rows."""
    # hypothesis, where it is installed, is imported by its plugin at the end of every run.
    quiet = {"PYTEST_ADDOPTS": "-p no:hypothesispytest"}
    with home(VALOR_SCHEDULE_SLOTS="2", **quiet) as folder:
        project = folder / "small"
        project.mkdir()
        (project / "test_it.py").write_text(_SUITE)
        rows = [*_packages(times), _unused(project, times)]
        (project / "conftest.py").write_text(_CONFTEST)
        os.environ["BENCHMARK_STARTED"] = str(folder / "started")
        return [*rows, *_ways(project, times), *_handed_over(project, times)]


def main() -> None:
    """Measure and print."""
    print(HEAD, *(row.text() for row in measure(*numbers(sys.argv[1:], 11))), sep="\n")


if __name__ == "__main__":
    main()
