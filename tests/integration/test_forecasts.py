"""What is told of a queue while its jobs run: when they end, and when the others start."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule import JobStatusResponse, get_job_status, hold_job, list_jobs
from pytest_valor_schedule._util import clock
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.queue import job_estimates
from pytest_valor_schedule.queue.history import History, Run
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import GATED, is_running, open_gate, record_of, results_of, schedule
from tests.support.waiting import wait_until

SLOW = """
import pytest, time
@pytest.mark.parametrize("number", range(8))
def test_slow(number): time.sleep(2)
"""


def _learn(home: Home, project: Path, seconds: dict[str, float]) -> None:
    with JobStore(home) as store:
        run = Run(selection="", workers=2, overhead_seconds=0.1, peak_memory_bytes=2**30)
        name = project_of(str(project))
        History(store.database).learn(name, seconds, time.time(), run=run)
        job_estimates.estimate_anew(store)


def _looks(job_id: str) -> Iterator[list[JobStatusResponse]]:
    """Yield what is told of all jobs, the oldest first, again and again until a job has ended."""
    while (job := get_job_status(job_id))["status"] != "completed":
        if job["status"] == "running":
            yield list_jobs()["jobs"][::-1]
        time.sleep(0.1)


def _with_history(job_id: str) -> JobStatusResponse | None:
    """Return the status of a job when its estimate rests on a run."""
    status = get_job_status(job_id)
    return status if status["estimated_from_runs"] else None


def test_who_waits_behind_a_slow_run_is_told_by_its_pace(project: Path, home: Home) -> None:
    """And the same as those who look at the run itself: never what its time limit says."""
    Path("test_slow.py").write_text(SLOW)
    _learn(home, project, {f"test_slow.py::test_slow[{n}]": 0.25 for n in range(8)})
    slow, second, third = (schedule() for _ in range(3))
    latest, equal = [], []
    for running, *waiting in _looks(slow):
        now = time.time()
        starts = [clock.from_text(job.get("estimated_start")) or 0.0 for job in waiting]
        if len(starts) == 2 and running["status"] == "running":
            latest.append(max(starts) - now)
            ends = clock.from_text(running["estimated_end"])
            equal.append(ends == pytest.approx(starts[0], abs=0.01))
    assert 1 < max(latest) < 100, latest
    assert equal.count(True) > len(equal) / 2, equal  # a runner may speak between two queries
    assert [job["job_id"] for job in list_jobs()["jobs"]] == [third, second, slow]


@pytest.mark.usefixtures("one_slot")
def test_what_waits_is_estimated_anew_when_its_project_has_run(project: Path, home: Home) -> None:
    """Time, workers and memory: of every job that had no history, and of no other project's."""
    Path("test_gated.py").write_text(GATED)
    first = schedule("test_gated.py", "--max-workers", "1")
    wait_until(lambda: is_running(first), "the first runs")
    assert "estimated_end" not in get_job_status(first)
    waiting = [schedule("test_gated.py", "--max-workers", "1") for _ in range(2)]
    Path("other").mkdir()
    Path("other", "pytest.ini").write_text("[pytest]")
    Path("other", "test_gated.py").write_text("def test_gated(): pass")
    other = schedule(folder=Path("other"))
    for job_id in (*waiting, other):
        hold_job(job_id)
    before = get_job_status(waiting[0])
    assert before["estimated_from_runs"] == 0
    open_gate()
    results_of(first)
    for job_id in waiting:
        after = wait_until(functools.partial(_with_history, job_id), "it is estimated anew") or {}
        assert (after["estimated_from_runs"], after["useful_workers"]) == (1, 1)
        assert after["estimated_seconds"] != before["estimated_seconds"]
        assert record_of(home, job_id)["estimated_from_runs"] == 0
    assert get_job_status(other)["estimated_from_runs"] == 0


@pytest.mark.usefixtures("no_dispatcher")
def test_an_estimate_anew_takes_in_the_memory(project: Path, home: Home) -> None:
    """And one that has a history already is left as it is."""
    Path("test_a.py").write_text("def test_one(): pass")
    job_id = schedule("--max-workers", "1")
    for seconds in (7.0, 9.0):
        _learn(home, project, {"test_a.py::test_one": seconds})
        status = get_job_status(job_id)
        assert status["estimated_seconds"] == pytest.approx(7.1)
        assert status["estimated_memory_bytes"] == pytest.approx(2**30 / 3 * 2, rel=0.01)


def test_a_guess_is_no_longer_than_the_job_may_take(project: Path, home: Home) -> None:
    """What the queue reckons with for tests of which nothing is known."""
    with JobStore(home) as store:
        for number in range(5):
            run = Run(selection="", workers=1, overhead_seconds=1.0)
            History(store.database).learn(f"/{number}", {"t": 1000.0}, 1.0, run=run)
    Path("test_gated.py").write_text(GATED)
    status = get_job_status(schedule("--timeout-minutes", "2"))
    assert status["estimated_seconds"] == 120
