"""How long `pytest --schedule` takes beside `pytest --collect-only -q`.

`python tests/benchmarks/handover.py PATH [ROUNDS]`: PATH is a project, such as an unpacked source
distribution of jinja2, whose tests this interpreter can run. The three commands are interleaved;
the medians and their ratio are printed. Each scheduled job is cancelled outside of the measured
time, so that it does not disturb what is measured next.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_valor_schedule import cancel_job, list_jobs
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service

COLLECT = ("--collect-only", "-q")
SCHEDULE = ("--schedule",)


def seconds_of(arguments: Sequence[str], project: Path) -> float:
    """Return how long one pytest takes, in seconds."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    start = time.perf_counter()
    subprocess.run(command, cwd=project, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def end_jobs() -> None:
    """Cancel what was scheduled."""
    for job in list_jobs()["jobs"]:
        if job["status"] in ("scheduled", "running"):
            cancel_job(job["job_id"])


def wait_for_no_dispatcher(home: Home) -> None:
    """Wait until the dispatcher has gone for lack of work."""
    while service.is_running(home):
        time.sleep(0.05)


def measure(project: Path, rounds: int, home: Home) -> dict[str, float]:
    """Return the median of each command in seconds."""
    times: dict[str, list[float]] = {"collect": [], "first": [], "live": []}
    for _ in range(rounds):
        times["collect"].append(seconds_of(COLLECT, project))
        times["first"].append(seconds_of(SCHEDULE, project))
        end_jobs()
        times["live"].append(seconds_of(SCHEDULE, project))
        end_jobs()
        wait_for_no_dispatcher(home)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    project, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 11
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"VALOR_HOME": folder, "VALOR_SCHEDULE_IDLE_SECONDS": "3"}
        medians = measure(project, rounds, Home(Path(folder)))
    collect = medians["collect"]
    print(f"{project.name}, {rounds} rounds, medians:")
    print(f"pytest --collect-only -q              {collect * 1000:7.0f} ms")
    for name, text in (("live", "dispatcher alive"), ("first", "dispatcher started")):
        taken = medians[name]
        ratio = f"{taken / collect:5.2f} x, {(taken - collect) * 1000:+.0f} ms"
        print(f"pytest --schedule, {text:18} {taken * 1000:7.0f} ms  {ratio}")


if __name__ == "__main__":
    main()
