"""The functions for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import (
    cancel_job,
    get_job_results,
    get_job_status,
    list_jobs,
    rerun_job,
    schedule_tests,
    wait_for_job,
)
from pytest_valor_schedule.client import live_jobs
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.queue import forecast
from pytest_valor_schedule.queue.store import JobStore
from tests.support.jobs import a_job
from tests.support.scheduled import (
    nothing_scheduled,
    record_of,
    results_of,
    schedule,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("warm_collection")

ONE_TEST = "def test_one(): pass"
SLOW = "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)"


@pytest.mark.usefixtures("no_dispatcher")
def test_schedule_tests_returns_what_will_run(project: Path, home: Home) -> None:
    """The answer has exactly the documented keys, and the record exists from then on."""
    Path("test_a.py").write_text("def test_one(): pass\nclass TestB:\n    def test_two(self): pass")
    answer = schedule_tests("pytest test_a.py -v")
    job_id = answer.pop("job_id")
    assert answer == {
        "status": "scheduled",
        "tests_to_run": ["test_a.py::test_one", "test_a.py::TestB::test_two"],
        "test_count": 2,
        "estimated_duration": "not known yet",
        "timeout_minutes": 10,
    }
    record = record_of(home, job_id)
    assert record["schema_version"] == 1
    assert record["tests_to_run"] == answer["tests_to_run"]
    assert (record["cwd"], record["interpreter"]) == (str(project), sys.executable)


def test_job_goes_from_scheduled_to_completed(project: Path) -> None:
    """Status, results and list agree on an ended job, and everything is JSON."""
    Path("test_a.py").write_text("def test_one(): pass\ndef test_two(): assert 1 == 2, 'sum'")
    job_id = schedule_tests("pytest test_a.py")["job_id"]
    results = results_of(job_id)
    status = get_job_status(job_id)
    assert (status["status"], status["outcome"]) == ("completed", "failed")
    assert status["created_at"] <= status["started_at"] <= status["completed_at"]
    assert status["results"] == results["results"]
    assert status["summary"] == results["summary"]
    failure = results["results"][1]
    assert failure["location"] == "test_a.py:2"
    assert failure["message"].startswith("AssertionError: sum")
    assert "assert 1 == 2" in failure["longrepr"]
    listed = list_jobs()
    assert (listed["total"], listed["filtered_by"]) == (1, None)
    assert listed["jobs"][0]["summary"] == results["summary"]
    assert "results" not in listed["jobs"][0]
    json.dumps([results, status, listed])


def test_every_function_takes_a_part_of_the_id(ended: str) -> None:
    """The full id, its last part or an unambiguous prefix name a job."""
    for part in (ended, ended[-6:], ended[:19], f" {ended.upper()} "):
        assert wait_for_job(part)["job_id"] == ended
        assert get_job_results(part)["job_id"] == ended


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"priority": "urgent"}, "priority is 'urgent'"),
        ({"max_workers": 0}, "max_workers is 0"),
        ({"max_workers": -1}, "max_workers is -1"),
        ({"max_workers": 1.5}, "max_workers is 1.5"),
        ({"max_workers": True}, "max_workers is True"),
        ({"max_workers": "2"}, "max_workers is '2'"),
        ({"timeout_minutes": 0}, "timeout_minutes is 0"),
        ({"timeout_minutes": -3}, "timeout_minutes is -3"),
        ({"timeout_minutes": float("nan")}, "timeout_minutes is nan"),
        ({"timeout_minutes": float("inf")}, "timeout_minutes is inf"),
        ({"notification_chat_id": 5}, "notification_chat_id is 5"),
        ({"cwd": "/no/such/folder"}, "/no/such/folder is not there"),
        ({"cwd": 5}, "cwd is 5"),
        ({"cwd": "a" * 300}, "must be the path of a folder"),
        ({"test_specification": "a" * 300}, "is neither pytest"),
        ({"test_specification": ""}, "is empty"),
        ({"test_specification": None}, "is None, but must be a text"),
        ({"test_specification": "pytest; rm -rf x"}, '";"'),
        ({"test_specification": "pytest missing.py"}, "file or directory not found: missing.py"),
        ({"test_specification": "pytest -k nothing"}, "No tests were collected"),
        ({"test_specification": "pytest --bogus"}, "unrecognized arguments: --bogus"),
        ({"test_specification": "pytest --pdb"}, "--pdb opens a debugger"),
        ({"test_specification": "pytest --dist each"}, "--dist each runs each test more than once"),
        ({"test_specification": "pytest broken.py"}, "NameError"),
        ({"test_specification": "no/such/python -m pytest"}, "could not be started"),
    ],
)
def test_bad_request_is_one_sentence_and_changes_nothing(
    project: Path, arguments: dict[str, Any], problem: str
) -> None:
    """What cannot be scheduled is answered with an error that names the problem."""
    Path("test_a.py").write_text(ONE_TEST)
    Path("broken.py").write_text("nonsense")
    answer = schedule_tests(**{"test_specification": "pytest", **arguments})
    assert problem in answer["error"]
    assert "\n" not in answer["error"]
    assert nothing_scheduled()


def test_working_directory_that_is_gone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program whose own folder was deleted is told so."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "working directory is gone" in schedule_tests("pytest")["error"]


@pytest.mark.parametrize("job_id", ["nope", "../x", "", "%", "*", None, 7, "2026" * 20, "\0", "-"])
def test_what_is_no_id_is_unknown(job_id: Any) -> None:
    """No function takes anything but an id, and none makes a path of it."""
    for function in (get_job_status, cancel_job, get_job_results, wait_for_job):
        assert "There is no job" in function(job_id)["error"]


@pytest.mark.usefixtures("no_dispatcher")
def test_ambiguous_prefix_names_the_jobs(project: Path) -> None:
    """A prefix of two jobs is refused and both are named."""
    Path("test_a.py").write_text(ONE_TEST)
    ids = {schedule() for _ in range(2)}
    answer = get_job_status("20")
    assert "fits more than one job" in answer["error"]
    assert all(job_id in answer["error"] for job_id in ids)


@pytest.mark.usefixtures("no_dispatcher")
def test_list_jobs_filters_and_limits(ended: str, project: Path) -> None:
    """The newest come first, no more than the limit, and total counts all that match."""
    Path("test_a.py").write_text(ONE_TEST)
    ids = [ended, *(schedule() for _ in range(2))]
    assert [job["job_id"] for job in list_jobs()["jobs"]] == ids[::-1]
    answer = list_jobs("scheduled", 1)
    assert [job["job_id"] for job in answer["jobs"]] == ids[2:]
    assert (answer["total"], answer["filtered_by"]) == (2, "scheduled")
    assert [job["job_id"] for job in list_jobs("completed")["jobs"]] == [ended]
    assert list_jobs("running")["total"] == 0
    assert list_jobs(limit=0)["jobs"] == []
    assert "limit is -1" in list_jobs(limit=-1)["error"]
    assert "limit is True" in list_jobs(limit=True)["error"]
    assert "status_filter is 'done'" in list_jobs("done")["error"]


@pytest.mark.usefixtures("no_dispatcher")
def test_cancel_takes_a_job_out_of_the_queue(project: Path, home: Home) -> None:
    """A cancelled job that had not started has a record in which no test was run."""
    Path("test_a.py").write_text(SLOW)
    schedule()
    waiting = schedule()
    status = get_job_status(waiting)
    assert status["status"] == "scheduled"
    assert status["reason"].startswith("waits for")
    assert cancel_job(waiting) == {"job_id": waiting, "status": "cancelled"}
    results = results_of(waiting)
    assert results["outcome"] == "cancelled"
    assert results["summary"]["not_run"] == 2
    assert record_of(home, waiting)["status"] == "cancelled"


@pytest.mark.home_in_use
def test_cancel_ends_a_running_job_and_keeps_its_results(project: Path) -> None:
    """When cancel_job returns, the partial results are there and it cannot be cancelled again."""
    Path("test_a.py").write_text(SLOW)
    job_id = schedule("--max-workers", "1")
    assert "has not ended: it is" in get_job_results(job_id)["error"]
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("finished") == 1,
        "the quick test has finished",
    )
    assert cancel_job(job_id) == {"job_id": job_id, "status": "cancelled"}
    results = results_of(job_id)
    assert [each["outcome"] for each in results["results"]] == ["passed", "not_run"]
    assert "has ended already (cancelled)" in cancel_job(job_id)["error"]


@pytest.mark.usefixtures("no_dispatcher")
def test_wait_for_job_gives_up_at_its_timeout(project: Path) -> None:
    """With a timeout the status comes back although the job has not ended."""
    Path("test_a.py").write_text(SLOW)
    job_id = schedule()
    assert wait_for_job(job_id, 0.1)["status"] == "scheduled"
    assert (
        "timeout_seconds is -1, but must be a number of seconds of 0"
        in wait_for_job(job_id, -1)["error"]
    )


@pytest.mark.usefixtures("no_dispatcher")
def test_priority_beats_age(project: Path) -> None:
    """The place in the queue is that of the priority, and not of the time of scheduling."""
    Path("test_a.py").write_text(ONE_TEST)
    ids = [schedule("--priority", priority) for priority in ("low", "normal", "high")]
    assert [get_job_status(job_id)["queue_position"] for job_id in ids] == [3, 2, 1]


def test_specification_may_set_variables_and_quote(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They reach the tests, also in a rerun; what may be secret is nowhere to be read."""
    Path("test_a.py").write_text(
        "import os\ndef test_one():\n    assert os.environ['FLAVOUR'] == 'dark chocolate'\n"
        "    assert os.environ['A_TOKEN'] == 's3' + 'cret'\n"
        "def test_other(): pass"
    )
    variables = "A_TOKEN=s3cret FLAVOUR='dark chocolate'"
    answer = schedule_tests(f"{variables} python -m pytest -k 'one and not other'")
    assert answer["tests_to_run"] == ["test_a.py::test_one"]
    assert results_of(answer["job_id"])["outcome"] == "passed"
    refused = rerun_job(answer["job_id"])
    assert "scheduled with A_TOKEN=..., whose value is not kept" in refused["error"]
    wait_until(lambda: not service.is_running(home), "the dispatcher has gone")
    kept = [path for path in home.root.rglob("*") if path.is_file()]
    assert [path for path in kept if b"s3cret" in path.read_bytes()] == []
    monkeypatch.setenv("A_TOKEN", "s3cret")
    again = rerun_job(answer["job_id"])
    assert results_of(again["job_id"])["outcome"] == "passed"


@pytest.mark.home_in_use
def test_user_s_own_n_is_superseded(project: Path) -> None:
    """-n in the command gives way to max_workers, however it is written."""
    Path("test_a.py").write_text(
        "import os, pytest\n@pytest.mark.parametrize('x', range(4))\n"
        "def test_one(x): assert os.environ['PYTEST_XDIST_WORKER_COUNT'] == '2'"
    )
    answer = schedule_tests("pytest -n4 --numprocesses=3 --maxprocesses 1")
    assert results_of(answer["job_id"])["outcome"] == "passed"


@pytest.mark.home_in_use
def test_cwd_is_where_the_job_runs(project: Path) -> None:
    """With cwd the specification is read and run there."""
    Path("other").mkdir()
    Path("other/test_a.py").write_text(ONE_TEST)
    answer = schedule_tests("test_a.py", cwd="other")
    assert answer["tests_to_run"] == ["test_a.py::test_one"]
    assert results_of(answer["job_id"])["outcome"] == "passed"


def test_a_path_that_cannot_be_sent_is_refused(project: Path) -> None:
    """In a sentence, instead of xdist's end when it sends the path to a worker."""
    folder = Path(os.fsdecode(b"not-\xff-utf8"))
    folder.mkdir()
    folder.joinpath("test_a.py").write_text(ONE_TEST)
    error = schedule_tests("test_a.py", cwd=folder)["error"]
    assert error.startswith("pytest-xdist cannot send the path ")
    assert nothing_scheduled()


def test_interpreter_without_pytest_is_told_what_to_install(project: Path, tmp_path: Path) -> None:
    """An interpreter that lacks what a job needs gets the package and the place by name."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    Path("test_a.py").write_text(ONE_TEST)
    error = schedule_tests(f"{python} -m pytest")["error"]
    assert f"{python} has no pytest; install it there" in error
    assert nothing_scheduled()


@pytest.mark.usefixtures("no_dispatcher")
def test_a_chat_id_is_kept(project: Path, home: Home) -> None:
    """It is in the record, and that nobody can be told is a warning, not an error."""
    Path("test_a.py").write_text(ONE_TEST)
    answer = schedule_tests("pytest", notification_chat_id="-100123")
    assert "no Telegram bot token" in answer["warnings"][0]
    assert record_of(home, answer["job_id"])["notification_chat_id"] == "-100123"


@pytest.mark.usefixtures("no_dispatcher")
def test_an_answer_is_of_one_moment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while it is made is not half in it: no job twice, none without its place."""
    ids = ["20261122-203015-000001", "20261122-203015-000002"]
    queue_positions = forecast.queue_positions

    def start_one_and_add_one(
        store: JobStore, now: float, wanted: Iterable[str] | None = None
    ) -> dict[str, forecast.QueuePosition]:
        with JobStore(home) as other:
            waiting = other.queue()[0].job_id
            other.change(waiting, JobStatus.SCHEDULED, status=JobStatus.RUNNING, started_at=now)
            new = f"20261122-203016-00000{other.count()}"
            other.add(a_job(job_id=new), ["a"], {})
        return queue_positions(store, now, wanted)

    with JobStore(home) as store:
        for job_id in ids:
            store.add(a_job(job_id=job_id), ["a"], {})
    with monkeypatch.context() as patch:
        patch.setattr(forecast, "queue_positions", start_one_and_add_one)
        one, listed, queue = get_job_status(ids[0]), list_jobs(), live_jobs.list_queue(3)
    assert (one["status"], one["queue_position"]) == ("scheduled", 1)
    assert listed["total"] == len(listed["jobs"]) == 3
    assert len(queue["active"]) == len({job["job_id"] for job in queue["active"]}) == 4
    for jobs, waiting in (listed["jobs"], 2), (queue["active"], 2):
        positions = [job["queue_position"] for job in jobs if job["status"] == "scheduled"]
        assert sorted(positions) == list(range(1, waiting + 1))
    with JobStore(home) as store:
        assert len(store.jobs(JobStatus.RUNNING)) == 3
        with store.database.transaction() as connection:
            connection.execute("DELETE FROM jobs")
