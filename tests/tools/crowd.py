"""Schedule jobs from many processes at once, and count the workers that live.

`python -m tests.tools.crowd [JOBS] [SLOTS] [DIRECT]`: every submitter is a process of its own; the
jobs differ in priority, size and length. Among them so many `pytest -n auto` are started by hand,
on a machine with `direct_runs = "share"`. Every 20 ms the live xdist workers are counted from
/proc. Prints the most that were seen and the order in which the jobs started; the exit code is 0 if
there were never more workers than slots and every job ended well.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_valor_schedule import JobStatusResponse, list_jobs
from tests.tools.chaos import ENDED, machinery

SUITE = """
import time
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_one(number):
    time.sleep({seconds})
"""
KINDS = [("low", 1, 4, 0.1), ("normal", 2, 6, 0.1), ("high", 1, 2, 0.05), ("normal", 4, 8, 0.02)]
PATIENCE_SECONDS = 300.0


def submitter(folder: Path, number: int) -> subprocess.Popen[bytes]:
    """Start a pytest that schedules one of the jobs."""
    priority, workers, tests, seconds = KINDS[number % len(KINDS)]
    options = ["--schedule", "--priority", priority, "--max-workers", str(workers)]
    return _pytest(folder / f"job{number}", tests, seconds, options)


def by_hand(folder: Path, number: int) -> subprocess.Popen[bytes]:
    """Start a pytest that runs its tests itself."""
    return _pytest(folder / f"direct{number}", 6, 0.1, ["-n", "auto"])


def _pytest(
    project: Path, tests: int, seconds: float, options: list[str]
) -> subprocess.Popen[bytes]:
    project.mkdir()
    (project / "test_it.py").write_text(SUITE.format(tests=tests, seconds=seconds))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=project, stdout=quiet, stderr=quiet)


def parent_of(pid: int) -> int | None:
    """Return the parent of a live process; None for one that is gone or a zombie."""
    with contextlib.suppress(OSError):
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else int(parent)
    return None


def live_workers(home: Path) -> int:
    """Return how many xdist workers of a home live now.

    A look through /proc takes time, so each worker found is looked at once more: all that are
    still there at the end lived at the same moment. A child that a worker has just forked looks
    like a worker until it has become another program.
    """
    workers = [pid for pid, kind in machinery(home).items() if kind == "worker"]
    parents = [parent_of(pid) for pid in workers]
    return sum(parent is not None and parent not in workers for parent in parents)


def run(
    folder: Path, count: int, direct: int
) -> tuple[int, list[JobStatusResponse], list[int | None]]:
    """Run a crowd to its end.

    Returns:
        The most workers that lived at once, the jobs in the order of their start, and the exit
        codes of what was started by hand.
    """
    home = Path(os.environ["VALOR_HOME"])
    submitters = [submitter(folder, number) for number in range(count)]
    direct_runs = [by_hand(folder, number) for number in range(direct)]
    pytests = submitters + direct_runs
    deadline = time.monotonic() + PATIENCE_SECONDS
    most, jobs = 0, list[JobStatusResponse]()
    look_at = 0.0
    while time.monotonic() < deadline:
        most = max(most, live_workers(home))
        if time.monotonic() >= look_at and all(each.poll() is not None for each in pytests):
            look_at = time.monotonic() + 0.5
            jobs = list_jobs(limit=count)["jobs"]
            if len(jobs) == count and all(job["status"] in ENDED for job in jobs):
                break
        time.sleep(0.02)
    codes = [each.poll() for each in direct_runs]
    return most, sorted(jobs, key=lambda job: str(job.get("started_at"))), codes


def main() -> int:
    """Run, print what was seen, and return the exit code."""
    given = [int(text) for text in sys.argv[1:]]
    count, slots, direct = given + [8, 2, 0][len(given) :]
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "VALOR_HOME": str(Path(folder) / "home"),
            "VALOR_SCHEDULE_IDLE_SECONDS": "0.5",
            "VALOR_SCHEDULE_SLOTS": str(slots),
            "VALOR_SCHEDULE_DIRECT_RUNS": "share",
            "PYTEST_XDIST_AUTO_NUM_WORKERS": str(slots),
        }
        most, jobs, codes = run(Path(folder), count, direct)
        while machinery(Path(os.environ["VALOR_HOME"])):
            time.sleep(0.1)
    for job in jobs:
        print(f"{job['priority']:7} {job['workers']} of {job['max_workers']} {job.get('outcome')}")
    print(f"{len(jobs)} jobs, {direct} by hand, {slots} slots, at most {most} workers at once")
    good = len([job for job in jobs if job.get("outcome") == "passed"])
    return 0 if good == count and codes == [0] * direct and 0 < most <= slots else 1


if __name__ == "__main__":
    sys.exit(main())
