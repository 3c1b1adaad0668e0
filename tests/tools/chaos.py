"""Kill at random whatever serves jobs, and check that nothing is lost, run twice or left behind.

`python -m tests.tools.chaos [SIGNALS] [SEED]`: schedules small runs in a temporary home, some of
them from terminals that wait, and sends signals to processes of every kind, chosen by the seed,
until all of these runs have ended; then the next ones. Between the signals nothing of ours is
called: it looks at files and at /proc alone, so that those who are left have to miss whoever was
killed. At the end it prints what it counted; the exit code is 0 if every promise held.
"""

from __future__ import annotations

import contextlib
import json
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

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import dispatcher, runner, watcher
from pytest_valor_schedule.daemon.notification import NOTIFIER_VARIABLE
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process.fork_server import SERVER_NAME
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.runner import SPARE_NAME

SERVICE = ("watcher", "dispatcher")
BACKGROUND = (
    *(*SERVICE, "runner", "session runner", "spare"),
    *("controller", "forks", "worker", "notifier"),
)
KINDS = (*BACKGROUND * 3, "submitter", "waiter")
NAMES = {
    watcher.NAME: "watcher",
    dispatcher.NAME: "dispatcher",
    runner.PROCESS_NAME: "runner",
    runner.SESSION_NAME: "session runner",
    SPARE_NAME: "spare",
    SERVER_NAME: "forks",
}
SIGNALS = (signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP)
TESTS = 24
SUITE = f"""
import os, time
import pytest

@pytest.fixture
def slow_to_leave():
    yield
    time.sleep(0.02)

@pytest.mark.parametrize("number", range({TESTS}))
def test_one(number, slow_to_leave):
    time.sleep(0.02)
    with open("bodies-" + os.environ["{JOB_ID_VARIABLE}"], "a") as file:
        file.write(f"test_chaos.py::test_one[{{number}}]\\n")
"""
ROUND_PATIENCE_SECONDS = 300.0
END_PATIENCE_SECONDS = 120.0
JOBS_AT_ONCE = 4
WAITED_FOR_SECONDS = 8.0
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
    if name in NAMES:
        return NAMES[name]
    if f"{NOTIFIER_VARIABLE}=" in environment:
        return "notifier"
    if f"{JOB_ID_VARIABLE}=" in environment:
        return "worker" if "sys.stdin.readline" in command else "controller"
    if "--schedule" in command:
        return "waiter" if "--schedule-wait" in command else "submitter"
    return "beginner"  # which has no name yet


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
        self.signals: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self._submitters: list[subprocess.Popen[str]] = []
        self._stopped: dict[int, float] = {}  # pid -> when it is to go on

    def run(self, signals: int) -> Iterator[str]:
        """Schedule and send signals until they were so many; yield why it did not go on."""
        while self.signals.total() < signals:
            self._submit()
            begun = time.monotonic()
            while not self._is_over(time.monotonic() - begun):
                time.sleep(self.random.uniform(0, 0.8))
                self._let_go_on()
                if self.signals.total() < signals:
                    self._send_one()
                if time.monotonic() - begun > ROUND_PATIENCE_SECONDS:
                    states = Counter(record["status"] for record in self.records())
                    yield f"it does not go on: {dict(states)}, {machinery(self.home.root)}"
                    return

    def _submit(self) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        hows = [["--schedule"] for _ in range(JOBS_AT_ONCE)]
        hows[0] = ["--schedule-wait"]
        hows[1] += ["--notify", "json://127.0.0.1:9"]  # where nobody listens
        for how in hows:
            self._submitters.append(
                subprocess.Popen(
                    [*command, *how],
                    cwd=self.project,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )

    def _is_over(self, seconds: float) -> bool:
        """Whether all that was scheduled has ended; nobody is waited for longer than a moment."""
        for submitter in [each for each in self._submitters if each.poll() is not None]:
            self._submitters.remove(submitter)
            said = submitter.communicate()[0]
            self.acknowledged.update(re.findall(r"^scheduled (\S+):", said, re.MULTILINE))
        for pid, kind in machinery(self.home.root).items():
            if kind == "waiter" and seconds > WAITED_FOR_SECONDS:  # it looks after the queue, too
                _send(pid, signal.SIGKILL)
        return not self._submitters and all(record["status"] in ENDED for record in self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all jobs."""
        return [json.loads(path.read_text()) for path in self.home.results.glob("[0-9]*.json")]

    def _let_go_on(self) -> None:
        now = time.monotonic()
        for pid in [pid for pid, due in self._stopped.items() if now >= due]:
            del self._stopped[pid]
            _send(pid, signal.SIGCONT)

    def _send_one(self) -> None:
        """Send a signal to a process of a kind chosen first, because workers are many.

        Watcher and dispatcher look after each other: not even they can miss both at once.
        """
        kinds = machinery(self.home.root)
        both = all(kind in kinds.values() for kind in SERVICE)
        wanted = self.random.choice(KINDS)
        living = sorted(pid for pid, kind in kinds.items() if kind == wanted)
        if not living or (wanted in SERVICE and not both):
            return
        pid, number = self.random.choice(living), self.random.choice(SIGNALS)
        if _send(pid, number):
            self.signals[wanted] += 1
            self.sent[signal.Signals(number).name] += 1
            if number == signal.SIGSTOP:
                self._stopped[pid] = time.monotonic() + self.random.uniform(0, 2)

    def problems(self) -> Iterator[str]:
        """Wait for the end of all processes, and yield each promise that was broken."""
        deadline = time.monotonic() + END_PATIENCE_SECONDS
        while (left := machinery(self.home.root)) and time.monotonic() < deadline:
            self._let_go_on()
            time.sleep(0.1)
        yield from (f"a {kind} is left: {pid}" for pid, kind in left.items())
        records = {record["job_id"]: record for record in self.records()}
        yield from (
            f"{each} was acknowledged and is gone" for each in self.acknowledged - {*records}
        )
        for job_id, record in sorted(records.items()):
            yield from _problems_of(job_id, record)
            yield from self._repetitions_in(job_id)
        yield from (
            f"{each} is left" for each in self.home.environments.iterdir() if each.stem in records
        )
        with contextlib.closing(sqlite3.connect(self.home.database)) as connection:
            [answer] = connection.execute("PRAGMA integrity_check").fetchone()
            if answer != "ok":
                yield f"the database is damaged: {answer}"
            for job_id, status in connection.execute("SELECT id, status FROM jobs"):
                if status != records.get(job_id, {}).get("status"):
                    yield f"{job_id} is {status} in the queue, but not in its record"

    def _repetitions_in(self, job_id: str) -> Iterator[str]:
        """Yield the tests that ran again though what became of them was known."""
        counts = {name: Counter[str]() for name in ("start", "setup", "call", "teardown")}
        for reader in event_log.readers(self.home.job_folder(job_id)):
            for event in reader.read():
                if event["kind"] in ("start", "report"):
                    counts[event.get("phase", "start")][event["id"]] += 1
        path = self.project / f"bodies-{job_id}"
        bodies = Counter(path.read_text().splitlines() if path.exists() else ())
        # A body that was cut off, so that nothing was reported of it, may be run once more.
        cut_off = counts["start"] - counts["call"]
        for nodeid in sorted({*bodies, *counts["teardown"]}):
            if counts["teardown"][nodeid] > 1 or bodies[nodeid] - cut_off[nodeid] > 1:
                yield f"{job_id} ran {nodeid} again, of which it knew the outcome"


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _problems_of(job_id: str, record: dict[str, Any]) -> Iterator[str]:
    if record["status"] not in ENDED:
        yield f"{job_id} is {record['status']}"
        return
    names = [result["nodeid"] for result in record["results"]]
    counts = {name: n for name, n in record["summary"].items() if name != "duration_seconds"}
    counts.pop("flaky", None)
    counts.pop("skipped_modules", None)
    if not counts.pop("total") == sum(counts.values()) == len(names) == len({*names}) == TESTS:
        yield f"{job_id} does not add up: {record['summary']}"


def main() -> int:
    """Run, print the counts, and return the exit code."""
    signals = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10_000)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), seed)
        os.environ |= {"VALOR_HOME": str(chaos.home.root), "VALOR_SCHEDULE_IDLE_SECONDS": "1"}
        problems = [*chaos.run(signals), *chaos.problems()]
        records = chaos.records()
        log = chaos.home.dispatcher_log.read_text()
    for problem in problems:
        print(problem)
    print(f"seed {seed}: signals to {dict(chaos.signals)}, {dict(chaos.sent)}")
    outcomes = Counter(str(record.get("outcome")) for record in records)
    print(
        f"{len(chaos.acknowledged)} of {len(records)} jobs acknowledged, outcomes: {dict(outcomes)}"
    )
    print(f"{len(problems)} problems")
    if problems:
        print(log[-20_000:], file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
