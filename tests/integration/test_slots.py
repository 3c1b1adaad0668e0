"""Worker slots: never more workers than there are, and each with a number of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_status, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon.executor import LOCAL, LocalExecutor, RunnerState
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.process import warm
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.store import JobStore
from tests.support.pages import ROOT
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    outcomes_of,
    results_of,
    run_pytest,
    run_tool,
    schedule,
    scheduled_id,
)
from tests.support.waiting import wait_until

SEEN = """
import os, pathlib, time
import pytest
IMPORTED = os.environ.get("VALOR_SCHEDULE_SLOT")  # none where it is only collected
@pytest.mark.parametrize("number", range(6))
def test_alone(number, schedule_slot):
    assert int(IMPORTED) == schedule_slot < 2
    held = pathlib.Path(os.environ["HELD"], f"slot{schedule_slot}")
    held.touch(exist_ok=False)
    time.sleep(0.05)
    held.unlink()
def test_killed(schedule_slot):
    once = pathlib.Path("killed")
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), 9)
@pytest.mark.parametrize("number", range(6))
def test_after(number, schedule_slot):
    test_alone(number, schedule_slot)
"""


@pytest.mark.home_in_use
def test_no_two_workers_have_a_slot_at_the_same_time(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of one job nor of several, and one that replaces a dead worker gets its slot."""
    monkeypatch.setenv("HELD", str(tmp_path))
    jobs = []
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        Path(name).mkdir()
        Path(name, "test_it.py").write_text(SEEN)
        done = run_pytest("--schedule", "--max-workers", str(workers), folder=Path(name))
        jobs.append(scheduled_id(done))
    for job_id in jobs:
        outcomes = outcomes_of(job_id)
        assert outcomes.pop("test_it.py::test_killed") == "crashed"
        assert set(outcomes.values()) == {"passed"}, outcomes


@pytest.mark.home_in_use
def test_jobs_run_beside_each_other_when_there_is_room(project: Path, home: Home) -> None:
    """Two jobs of one worker each share two slots, and a third waits."""
    Path("test_gated.py").write_text(GATED)
    first, second = (scheduled_id(run_pytest("--schedule")) for _ in range(2))
    wait_until(lambda: is_running(first) and is_running(second), "both run")
    third = run_pytest("--schedule")
    assert "waits for 1 worker slot, 0 of 2 free" in third.stdout
    status = get_job_status(scheduled_id(third))
    assert (status["queue_position"], status["status"]) == (1, "scheduled")
    shown = run_tool("slots").stdout.splitlines()
    assert sorted(line.split()[1] for line in shown) == sorted([first, second])
    taken = {slot for job_id in (first, second) for slot in get_job_status(job_id)["slots"]}
    assert taken == {0, 1}
    open_gate()
    for job_id in (first, second, scheduled_id(third)):
        assert results_of(job_id)["outcome"] == "passed"
    wait_until(lambda: slots.free(home, 2) == [0, 1], "the last runner has gone")


@pytest.mark.home_in_use
def test_slots_of_a_killed_runner_are_free_again(project: Path, home: Home) -> None:
    """When the processes of its job are gone."""
    Path("test_gated.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(job_id), "it runs")
    assert slots.free(home, 2) == [1]
    with JobStore(home) as store:
        runner = Identity.from_text(store.claim(job_id) or "")
    os.kill(runner.pid, signal.SIGKILL)
    assert results_of(job_id)["summary"]["not_run"] == 1
    wait_until(lambda: slots.free(home, 2) == [0, 1], "the slots are free")


@pytest.mark.home_in_use
def test_low_priority_is_nice(project: Path) -> None:
    """A low job leaves the CPU to others, a normal one is as nice as whoever started the suite."""
    Path("test_it.py").write_text("import os\ndef test_it(): print(os.nice(0)); assert 0")
    nices = []
    for priority in ("low", "normal"):
        (result,) = results_of(schedule("--priority", priority))["results"]
        nices += [int(text) for name, text in result["sections"] if "stdout" in name]
    mine = os.nice(0)
    assert nices == [min(19, mine + 10), mine]


def test_submitters_at_once_get_no_more_workers_than_slots() -> None:
    """A short run of tests/tools/crowd.py: jobs of all kinds, and a run by hand, at once."""
    command = [sys.executable, "-m", "tests.tools.crowd", "3", "2", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 jobs, 1 by hand, 2 slots, at most" in done.stdout


@pytest.mark.usefixtures("no_dispatcher")
def test_after_an_upgrade_a_runner_is_started_anew(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispatcher of the version before does not fork a runner that the job would not know."""
    Path("test_gated.py").write_text(GATED)
    job_id = schedule_tests("pytest")["job_id"]
    with JobStore(home) as store, closing(LocalExecutor(home, store, watcher=0)) as runners:
        monkeypatch.setattr(warm, "changed_at", lambda: -1.0)
        job = store.change(job_id, JobStatus.SCHEDULED, attempt=1)
        assert job is not None
        ref = runners.start(job, 1, LOCAL)
        wait_until(lambda: is_running(job_id), "it runs")
        pid = Identity.from_text(store.claim(job_id) or "").pid
        assert b"pytest_valor_schedule.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
        open_gate()
        assert results_of(job_id)["outcome"] == "passed"
        wait_until(lambda: runners.poll([ref])[ref] is RunnerState.ENDED, "its runner has ended")
