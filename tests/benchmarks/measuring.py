"""What the benchmarks share: commands and jobs in turns, and rows of a table."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_valor_schedule import get_job_status, schedule_tests, wait_for_job
from pytest_valor_schedule.process import kill, startup

QUIET = ("-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Row:
    """One line of the table: ours beside a peer's, and what the ratio should be at most."""

    name: str
    peer: str
    ours: float
    theirs: float
    unit: str
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """Ours in parts of theirs."""
        return self.ours / self.theirs

    def text(self) -> str:
        """Return the row for people."""
        goal = "" if self.goal is None else f"{self.goal:.2f} {self._verdict()}"
        numbers = f"{self.ours:10.4g}{self.theirs:10.4g} {self.unit:4}{self.ratio:7.3f}  {goal}"
        return f"{self.name:44}{self.peer:26}{numbers}"

    def _verdict(self) -> str:
        return "reached" if self.goal is not None and self.ratio <= self.goal else "missed"


HEAD = f"{'':44}{'peer':26}{'ours':>10}{'peer':>10} {'':4}{'ratio':>7}  goal"


@contextlib.contextmanager
def home(**variables: str) -> Iterator[Path]:
    """A home of its own, whose dispatcher stays; all that was started ends at the end."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    startup.become_subreaper()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kept = dict(os.environ)
        own = {"VALOR_HOME": f"{folder}/home", "VALOR_SCHEDULE_IDLE_SECONDS": "60"}
        os.environ |= {**own, **variables}
        try:
            yield Path(folder)
        finally:
            kill.end_children()
            os.environ.clear()
            os.environ |= kept


def in_turns(rounds: int, **ways: Callable[[], float]) -> dict[str, float]:
    """Return the median of what each way measured, the first round left out."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            found[name].append(way())
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def direct(project: Path, *arguments: str) -> float:
    """Run pytest to its end, failures or not, and return how long it took, in seconds."""
    command = [sys.executable, "-m", "pytest", *QUIET, *arguments]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=project, stdout=subprocess.DEVNULL)
    if done.returncode > 1:
        raise SystemExit(f"pytest ended with {done.returncode} in {project}.")
    return time.perf_counter() - begin


def job(project: Path, workers: int, *arguments: str) -> Mapping[str, Any]:
    """Run pytest through the queue and return the job's status at its end."""
    command = " ".join(["pytest", *QUIET, *arguments])
    answer = schedule_tests(command, cwd=project, max_workers=workers)
    wait_for_job(answer["job_id"])
    status = get_job_status(answer["job_id"])
    if status["outcome"] not in ("passed", "failed"):
        raise SystemExit(f"The job in {project} ended as {status['outcome']}.")
    return status


def moment(status: Mapping[str, Any], name: str) -> float:
    """Return a time of a job in seconds since the epoch."""
    return datetime.fromisoformat(str(status[name])).timestamp()


def seconds_in_queue_and_run(status: Mapping[str, Any]) -> float:
    """Return the time from a job's row in the queue to its end."""
    return moment(status, "completed_at") - moment(status, "created_at")


def makespan(status: Mapping[str, Any]) -> float:
    """Return the time from the start of a job's first test to the end of its last."""
    results = status["results"]
    ends = [moment(each, "started_at") + float(each["duration_seconds"]) for each in results]
    return max(ends) - min(moment(each, "started_at") for each in results)


def numbers(arguments: Sequence[str], *defaults: int) -> list[int]:
    """Return the numbers that were given, and the defaults for the rest."""
    given = [int(text) for text in arguments]
    return given + list(defaults[len(given) :])
