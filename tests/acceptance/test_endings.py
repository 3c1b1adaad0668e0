"""The end of a job may fail, for whatever reason: it ends all the same, and so do the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, get_job_status, wait_for_job
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import job_end, runner
from pytest_valor_schedule.daemon.dispatcher import Dispatcher
from pytest_valor_schedule.daemon.executor import RunnerState
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.queue import job_estimates, job_records
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file
from tests.support.executors import ProcesslessExecutor
from tests.support.jobs import a_job
from tests.support.scheduled import GATED, open_gate, outcomes_of, schedule
from tests.support.waiting import serving, wait_until

NOW = 1_700_000_100.0
ODD, PLAIN = "20261122-203015-00000d", "20261122-203015-000001"


def _bug_in(owner: object, name: str) -> Callable[[Home, pytest.MonkeyPatch], None]:
    """Return what has a function fail for the odd job."""

    def spoil(home: Home, patch: pytest.MonkeyPatch) -> None:
        whole = getattr(owner, name)

        def failing(store: JobStore, job: Job, *more: object) -> object:
            if job.job_id == ODD:
                raise RuntimeError(f"no end for {job.job_id}")
            return whole(store, job, *more)

        patch.setattr(owner, name, failing)

    return spoil


def _folder_in_place_of_record(home: Home, patch: pytest.MonkeyPatch) -> None:
    home.record(ODD).unlink()
    home.record(ODD).joinpath("something").mkdir(parents=True)


def _tests_damaged(home: Home, patch: pytest.MonkeyPatch) -> None:
    home.record(ODD).write_text("{")
    with JobStore(home) as store, store.database.transaction() as connection:
        connection.execute("UPDATE jobs SET tests = 'x' WHERE id = ?", (ODD,))


def _claim_damaged(home: Home, patch: pytest.MonkeyPatch) -> None:
    with JobStore(home) as store, store.database.transaction() as connection:
        connection.execute("UPDATE jobs SET claim = 'x' WHERE id = ?", (ODD,))


@pytest.mark.usefixtures("project")  # for the JUnit file
@pytest.mark.parametrize(
    ("spoil", "has_record"),
    [
        pytest.param(_bug_in(job_records, "summarize"), True, id="bug in the account"),
        pytest.param(_bug_in(job_records, "publish"), False, id="bug in the record"),
        pytest.param(_bug_in(job_end, "_report"), True, id="bug in the JUnit file"),
        pytest.param(_bug_in(job_estimates, "learn_from"), True, id="bug in learning"),
        pytest.param(_folder_in_place_of_record, False, id="no place for the record"),
        pytest.param(_tests_damaged, False, id="no list of its tests"),
        pytest.param(_claim_damaged, True, id="odd claim"),
    ],
)
def test_an_end_that_fails_stops_no_other(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[Home, pytest.MonkeyPatch], None],
    has_record: bool,
) -> None:
    """Both jobs end, in whichever order; one with a fault says so, and the log has the fault."""
    with JobStore(home) as store:
        for job_id in (PLAIN, ODD, PLAIN[:-1] + "2"):
            store.add(a_job(job_id=job_id, test_count=2, junit_path="report.xml"), ["a", "b"], {})
            store.change(job_id, JobStatus.SCHEDULED, status=JobStatus.RUNNING, started_at=NOW)
        spoil(home, monkeypatch)
        Dispatcher(store, ProcesslessExecutor(2, RunnerState.LOST)).step(NOW)
        assert not store.jobs(JobStatus.RUNNING)
        odd = store.get(ODD)
    assert get_job_status(PLAIN)["summary"]["not_run"] == 2
    has_ended = (record_file.read(home.record(ODD)) or {}).get("status") == "completed"
    assert has_ended == has_record
    assert odd.explanation
    if not has_record:
        assert "record could not be written" in odd.explanation
    if spoil is not _claim_damaged:
        assert ODD in capfd.readouterr().err


def test_a_job_that_cannot_end_at_all_stops_no_other(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fault is raised when all others are served, and it is tried again at the next step."""
    with JobStore(home) as store:
        for job_id in (PLAIN, ODD, PLAIN[:-1] + "2"):
            store.add(a_job(job_id=job_id), ["a"], {})
            store.change(job_id, JobStatus.SCHEDULED, status=JobStatus.RUNNING, started_at=NOW)
        with monkeypatch.context() as patch:
            _bug_in(job_end, "_end_in_queue")(home, patch)
            with pytest.raises(RuntimeError, match=ODD):
                Dispatcher(store, ProcesslessExecutor(2, RunnerState.LOST)).step(NOW)
        assert [job.job_id for job in store.jobs(JobStatus.RUNNING)] == [ODD]
        Dispatcher(store, ProcesslessExecutor(2, RunnerState.LOST)).step(NOW)
        assert not store.jobs(JobStatus.RUNNING)


def test_a_queue_goes_on_past_an_end_that_fails(project: Path, home: Home) -> None:
    """Two runners die; one job's record finds no place: both end, and what waits runs."""
    project.joinpath("test_gated.py").write_text(GATED)
    jobs = [schedule("--max-workers", "1") for _ in range(3)]
    wait_until(lambda: len(serving(home.root, runner.PROCESS_NAME)) == 2, "two run")
    wait_until(lambda: get_job_status(jobs[1])["status"] == "running", "they say so")
    home.record(jobs[0]).unlink()
    home.record(jobs[0]).joinpath("something").mkdir(parents=True)
    for pid in serving(home.root, runner.PROCESS_NAME):
        os.kill(pid, signal.SIGKILL)
    ended = [wait_for_job(job_id, 60) for job_id in jobs[:2]]
    assert [each["status"] for each in ended] == ["completed"] * 2
    assert "record could not be written" in ended[0]["explanation"]
    assert jobs[0] in home.dispatcher_log.read_text()
    assert [each["outcome"] for each in get_job_results(jobs[1])["results"]] == ["not_run"]
    open_gate()
    assert set(outcomes_of(jobs[2]).values()) == {"passed"}
