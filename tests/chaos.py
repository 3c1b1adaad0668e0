"""Kill at random what serves jobs, and check that nothing is lost or left behind.

`python tests/chaos.py [KILLS] [SEED]`: schedules a stream of small runs in a temporary home and
sends SIGKILL to a worker, controller, runner, dispatcher or submitter, chosen by the seed. At the
end it prints what it counted; the exit code is 0 if every promise held.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_valor_schedule import get_job_results, journal, list_jobs
from pytest_valor_schedule.forkserver import SERVER_NAME, WORKER_NAME
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE
from pytest_valor_schedule.home import Home
from pytest_valor_schedule.runner import PROCESS_NAME

KINDS = ("worker", "forks", "controller", "runner", "dispatcher", "submitter")
SUITE = """
import os, time
import pytest

@pytest.fixture
def slow_to_leave():
    yield
    time.sleep(0.02)

@pytest.mark.parametrize("number", range(24))
def test_one(number, slow_to_leave):
    time.sleep(0.02)
    with open("bodies-" + os.environ["VALOR_SCHEDULE_JOB_ID"], "a") as file:
        file.write(f"test_chaos.py::test_one[{number}]\\n")
"""
PATIENCE_SECONDS = 120.0
JOBS_AT_ONCE = 2
ENDED = ("completed", "cancelled")


def kind_of(pid: int, home: Path) -> str | None:
    """Return which part of this home's machinery a process is, if any."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None
    if str(home) not in command + environment:
        return None
    if name == PROCESS_NAME:  # it may show the command of the dispatcher that it was forked from
        return "runner"
    if "pytest_valor_schedule.dispatcher" in command:
        return "dispatcher"
    if "sys.stdin.readline" in command or name == WORKER_NAME:
        return "worker"
    if name == SERVER_NAME:
        return "forks"
    if f"{JOB_ID_VARIABLE}=" in environment:
        return "controller"
    return "submitter" if "--schedule" in command else None


def machinery(home: Path) -> dict[int, str]:
    """Return the live processes of a home and what each is."""
    pids = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    found = {pid: kind_of(pid, home) for pid in pids if pid != os.getpid()}
    return {pid: kind for pid, kind in found.items() if kind is not None}


class Chaos:
    """A stream of jobs, and the hand that kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.home = Home(folder / "home")
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "test_chaos.py").write_text(SUITE)
        self.kills: Counter[str] = Counter()
        self.acknowledged: list[str] = []
        self._submitters: list[subprocess.Popen[str]] = []

    def run(self, kills: int) -> None:
        """Schedule and kill until so many are dead."""
        while self.kills.total() < kills:
            self._submit_if_few()
            time.sleep(self.random.uniform(0, 1.5))
            self._kill_one()
        while self._submitters:
            self._collect_submitters()
            time.sleep(0.05)

    def _submit_if_few(self) -> None:
        self._collect_submitters()
        active = [job for job in list_jobs(limit=20)["jobs"] if job["status"] not in ENDED]
        if len(active) + len(self._submitters) < JOBS_AT_ONCE:
            command = [sys.executable, "-m", "pytest", "--schedule", "-q", "-p", "no:cacheprovider"]
            self._submitters.append(
                subprocess.Popen(command, cwd=self.project, stdout=subprocess.PIPE, text=True)
            )

    def _collect_submitters(self) -> None:
        for submitter in [each for each in self._submitters if each.poll() is not None]:
            self._submitters.remove(submitter)
            said = submitter.communicate()[0]
            self.acknowledged += re.findall(r"^scheduled (\S+):", said, re.MULTILINE)

    def _kill_one(self) -> None:
        """Kill a process of a kind chosen first, because workers are many."""
        wanted = self.random.choice(KINDS)
        living = [pid for pid, kind in machinery(self.home.root).items() if kind == wanted]
        if living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(sorted(living)), signal.SIGKILL)
                self.kills[wanted] += 1

    def problems(self) -> Iterator[str]:
        """Wait for the end of all jobs, and yield each promise that was broken."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(job["status"] not in ENDED for job in self._jobs()):
            if time.monotonic() > deadline:
                yield "not every job ended"
                break
            time.sleep(0.1)
        known = {job["job_id"] for job in self._jobs()}
        yield from (
            f"{job_id} was acknowledged and is gone"
            for job_id in self.acknowledged
            if job_id not in known
        )
        for job_id in sorted(known):
            yield from self._problems_of(job_id)
        while (left := machinery(self.home.root)) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield from (f"a {kind} is left: {pid}" for pid, kind in left.items())
        with contextlib.closing(sqlite3.connect(self.home.database)) as connection:
            [answer] = connection.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            yield f"the database is damaged: {answer}"

    @staticmethod
    def _jobs() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = list_jobs(limit=100_000)["jobs"]
        return jobs

    def _problems_of(self, job_id: str) -> Iterator[str]:
        answer = get_job_results(job_id)
        if "error" in answer:
            yield f"{job_id}: {answer['error']}"
            return
        counts = {name: n for name, n in answer["summary"].items() if name != "duration_seconds"}
        if not counts.pop("total") == sum(counts.values()) == len(answer["results"]) == 24:
            yield f"{job_id} does not add up: {answer['summary']}"
        counts = self._counts_of(job_id)
        twice = [nodeid for nodeid, count in counts["teardown"].items() if count > 1]
        if twice:
            yield f"{job_id} ran again what had finished: {twice}"
        # A body that was cut off, so that nothing was reported of it, may be run once more.
        cut_off = counts["start"] - counts["call"]
        twice = [
            each for each, count in self._bodies_of(job_id).items() if count - cut_off[each] > 1
        ]
        if twice:
            yield f"{job_id} ran bodies again whose outcome was known: {twice}"

    def _counts_of(self, job_id: str) -> dict[str, Counter[str]]:
        """Return how often each test was started, and each phase of it reported."""
        counts = {name: Counter[str]() for name in ("start", "setup", "call", "teardown")}
        for reader in journal.journals(self.home.job_folder(job_id)):
            for event in reader.read():
                if event["kind"] in ("start", "report"):
                    counts[event.get("phase", "start")][event["id"]] += 1
        return counts

    def _bodies_of(self, job_id: str) -> Counter[str]:
        """Return how often each test came to the end of its body, by what the tests wrote."""
        path = self.project / f"bodies-{job_id}"
        return Counter(path.read_text().splitlines() if path.exists() else ())


def main() -> int:
    """Run, print the counts, and return the exit code."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10_000)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), seed)
        os.environ |= {"VALOR_HOME": str(chaos.home.root), "VALOR_SCHEDULE_IDLE_SECONDS": "1"}
        chaos.run(kills)
        problems = list(chaos.problems())
        outcomes = Counter(job["outcome"] for job in chaos._jobs())
    for problem in problems:
        print(problem)
    print(f"seed {seed}: {kills} kills: {dict(chaos.kills)}")
    print(f"{len(chaos.acknowledged)} jobs acknowledged, outcomes of all: {dict(outcomes)}")
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
