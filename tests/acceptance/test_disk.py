"""A home on a disk that is full, read-only, without locks or busy: clear words, nothing lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, get_job_status, list_jobs, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.daemon.progress import Progress, overdue, stalled
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.event_log import EventLog
from tests.support.disks import as_root, fill, leave, make_room, open_files
from tests.support.jobs import a_job
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
from tests.support.waiting import processes_marked, wait_until


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Garbage is not collected, so that what is not closed stays open."""
    gc.disable()
    yield
    gc.enable()


@as_root
@pytest.mark.usefixtures("no_collection")
def test_nothing_is_scheduled_on_a_full_disk(project: Path, home: Home, small_disk: Path) -> None:
    """A full disk is named in one sentence, what was there is still shown, and room mends it."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    ended = scheduled_id(run_pytest("--schedule"))
    before = results_of(ended)
    wait_until(lambda: not service.is_running(home), "the dispatcher has gone")
    fill(small_disk)
    refused = run_pytest("--schedule")
    assert refused.returncode != 0
    assert "the disk is full" in refused.stderr or "make room" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout
    assert "room" in schedule_tests("test_it.py")["error"]
    assert [job["job_id"] for job in list_jobs()["jobs"]] == [ended]
    assert get_job_results(ended) == before
    assert not list(home.results.glob(".*"))
    assert not open_files(home.root)
    make_room(small_disk)
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@as_root
def test_results_wait_for_room(project: Path, home: Home, small_disk: Path) -> None:
    """A disk that fills up under a running job fails no test and loses no result."""
    project.joinpath("test_it.py").write_text(f"{GATED}\ndef test_after(): pass\n")
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: list(home.job_folder(job_id).glob("1.1-gw*")), "the workers are up")
    wait_until(lambda: _has_started(home, job_id), "a test has started")
    fill(small_disk)
    open_gate()
    mark = f"{JOB_ID_VARIABLE}={job_id}"
    wait_until(lambda: not processes_marked(mark), "pytest has ended")
    assert get_job_status(job_id)["status"] == "running"
    make_room(small_disk)
    assert results_of(job_id)["summary"]["total"] == 2
    assert get_job_status(job_id)["status"] == "completed"


def _has_started(home: Home, job_id: str) -> bool:
    journals = list(home.job_folder(job_id).glob("1.1-gw*.jsonl"))
    return any("start" in each.read_text() for each in journals)


MANY = """
import os, pathlib, time
import pytest
@pytest.mark.parametrize("number", range(20))
def test_one(number):
    with open("bodies", "a") as file:
        file.write(f"{number} ")
    while not pathlib.Path("gate").exists():
        time.sleep(0.02)
    if pathlib.Path("kill").exists():
        pathlib.Path("kill").rename("killed")
        os.kill(os.getsid(0), 9)
        time.sleep(600)
    assert number % 10
"""


def _bodies() -> list[str]:
    """Return the numbers of the tests of MANY that have begun."""
    return Path("bodies").read_text().split() if Path("bodies").exists() else []


def _start_many(home: Home, disk: Path, *arguments: str) -> str:
    """Return a job of MANY on two workers that has begun, on a disk that is then full."""
    Path("test_it.py").write_text(MANY)
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "2", *arguments))
    wait_until(lambda: len(_bodies()) == 2, "both workers are in a test")
    fill(disk)
    return job_id


@as_root
def test_two_workers_wait_for_room_at_their_end(
    project: Path, home: Home, small_disk: Path
) -> None:
    """What finds no room is written before the workers end, so no test runs twice or is lost."""
    job_id = _start_many(home, small_disk)
    open_gate()
    wait_until(lambda: len(_bodies()) == 20, "every test has begun")
    mark = f"{JOB_ID_VARIABLE}={job_id}"
    with pytest.raises(AssertionError, match="come to pass"):
        wait_until(lambda: not processes_marked(mark), "they end without room", seconds=4.0)
    assert get_job_status(job_id)["status"] == "running"
    make_room(small_disk)
    results = results_of(job_id)
    assert (results["summary"]["passed"], results["summary"]["failed"]) == (18, 2)
    assert "explanation" not in results
    assert len(_bodies()) == 20


@as_root
@pytest.mark.parametrize("end", ["room", "cancel", "limit"])
def test_a_second_round_waits_for_room(
    project: Path, home: Home, small_disk: Path, end: str
) -> None:
    """It is not started on a full disk, and the wait ends with the room, a cancel or the limit."""
    job_id = _start_many(home, small_disk, "--timeout-minutes", "0.2" if end == "limit" else "5")
    Path("kill").touch()
    open_gate()
    wait_until(Path("killed").exists, "the controller is killed")
    mark = f"{JOB_ID_VARIABLE}={job_id}"
    wait_until(lambda: not processes_marked(mark), "its workers are gone")
    if end == "limit":
        leave(small_disk, 100 * 1024)  # for the record, but not for a round
    else:
        if end == "cancel":
            _assert_full_disk_is_named(run_tool("cancel", job_id))
        assert not list(home.job_folder(job_id).glob("1.2*"))
        make_room(small_disk)
    results = results_of(job_id)
    lost = [each for each in results["results"] if each["outcome"] == "not_run"]
    if end == "room":
        assert "tests were run once more, because at first" in results["explanation"]
        assert not lost
    else:
        assert results["outcome"] == ("cancelled" if end == "cancel" else "timed_out")
        assert any("the disk was full" in each["message"] for each in lost)


NOISY = """
import pathlib, time
import pytest
@pytest.mark.parametrize("number", range(120))
def test_one(number):
    with open("bodies", "a") as file:
        file.write(f"{number} ")
    while not pathlib.Path("gate").exists():
        time.sleep(0.02)
    assert number % 10
"""


NOISY_CONTROLLER = """
import os
def pytest_runtest_logreport(report):
    if report.when == "call" and "PYTEST_XDIST_WORKER" not in os.environ:
        print("much to say " * 1000)
"""


@as_root
@pytest.mark.parametrize("room", [0, 1024 * 1024], ids=["full", "nearly full"])
def test_output_that_finds_no_room_ends_no_run(
    project: Path, home: Home, small_disk: Path, room: int
) -> None:
    """What a job prints is what is lost first: no body runs twice, and every result is there."""
    Path("test_it.py").write_text(NOISY)
    Path("conftest.py").write_text(NOISY_CONTROLLER)
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "2", "-s"))
    wait_until(lambda: len(_bodies()) == 2, "both workers are in a test")
    fill(small_disk)
    leave(small_disk, room)
    open_gate()
    wait_until(lambda: len(_bodies()) >= 120, "every test has begun")
    if not room:
        make_room(small_disk)
    results = results_of(job_id)
    assert (results["summary"]["passed"], results["summary"]["failed"]) == (108, 12)
    assert "explanation" not in results
    assert len(_bodies()) == 120


def _assert_full_disk_is_named(cancel: subprocess.CompletedProcess[str]) -> None:
    """It is no use to wait for the end of a job that waits for room itself."""
    assert cancel.returncode == 1
    assert "the disk of" in cancel.stderr
    assert "make room" in cancel.stderr
    assert cancel.stderr.count("\n") == 1


@pytest.mark.usefixtures("one_slot")
@as_root
def test_a_cancel_on_a_full_disk_ends_what_runs(
    project: Path, home: Home, small_disk: Path
) -> None:
    """Whoever cancels is told about the disk at once; of two jobs both are cancelled with room."""
    project.joinpath("test_gated.py").write_text(GATED)
    running, waiting = schedule(), schedule()
    wait_until(lambda: _has_started(home, running), "the test has started")
    fill(small_disk)
    _assert_full_disk_is_named(run_tool("cancel", running))
    assert not processes_marked(f"{JOB_ID_VARIABLE}={running}")
    refused = run_tool("cancel", waiting)
    assert refused.returncode == 1
    assert "full" in refused.stderr, refused.stderr
    make_room(small_disk)
    assert results_of(running)["outcome"] == "cancelled"
    assert run_tool("cancel", waiting).returncode == 0


def test_on_a_full_disk_no_test_is_taken_to_hang(tmp_path: Path) -> None:
    """What runs is not known while no report finds room, and the clocks begin anew with it."""
    progress = Progress(tmp_path, "1.1", Work.of(("gw0", "gw1"), {}, 1.0))
    progress.lose_sight(5.0)
    assert not stalled(progress.last_event, 500.0, 10.0)  # no test has begun at all
    for worker in ("gw0", "gw1"):
        with contextlib.closing(EventLog(event_log.path(tmp_path, "1.1", worker))) as own:
            own.write({"kind": "open", "pid": 1})
            own.write({"kind": "start", "id": worker, "at": 1.0})
    progress.look(10.0)
    assert len(overdue(progress.current, 20.0, 10.0)) == 2
    progress.lose_sight(20.0)
    assert overdue(progress.current, 500.0, 10.0) == []
    assert not stalled(progress.last_event, 29.0, 10.0)
    assert stalled(progress.last_event, 30.0, 10.0)


@pytest.mark.usefixtures("one_slot")
@as_root
def test_a_job_waits_for_room(project: Path, home: Home, small_disk: Path) -> None:
    """A job that was accepted does not start on a disk that could not hold its results."""
    project.joinpath("test_gated.py").write_text(GATED)
    running = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(running), "it runs")
    waiting = scheduled_id(run_pytest("--schedule"))
    fill(small_disk)
    leave(small_disk, 200 * 1024)
    open_gate()
    assert set(outcomes_of(running).values()) == {"passed"}
    assert "room on the disk" in get_job_status(waiting)["reason"]
    make_room(small_disk)
    assert set(outcomes_of(waiting).values()) == {"passed"}


def test_a_quota_is_named(ended: str, home: Home) -> None:
    """Where the kernel refuses to let a file grow, nothing is scheduled and nothing damaged."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(StoreError, match=r"disk|room|File too large"), JobStore(home) as store:
            store.add(a_job(), ["a"], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [job["job_id"] for job in list_jobs()["jobs"]] == [ended]


def test_a_file_system_without_locks_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks two dispatchers could run one job: say where the home may go."""

    def refuse(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    answer = list_jobs()
    assert "no locks" in answer["error"]
    assert "VALOR_HOME" in answer["error"]


def test_a_queue_that_somebody_keeps_locked_is_named(home: Home) -> None:
    """Whoever waits in vain to write is told why, and readers are served meanwhile."""
    with JobStore(home) as store, JobStore(home) as other:
        assert store.add(a_job(), ["a"], {})
        with store.database.transaction() as connection:
            with pytest.raises(StoreError, match="locked for too long"):  # noqa: SIM117
                with other.database.transaction(patience=0.05):
                    pass
            with pytest.raises(StoreError, match="locked"):
                other.set_progress(a_job().job_id, {})
            assert other.count() == 1
            connection.execute("DELETE FROM jobs")


def test_a_run_goes_on_while_the_queue_is_locked(project: Path, home: Home) -> None:
    """A job ends in its time, and is recorded once the queue can be written again."""
    project.joinpath("test_gated.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: _has_started(home, job_id), "the test has started")
    with JobStore(home) as store, store.database.transaction():
        open_gate()
        path = home.record(job_id)
        wait_until(lambda: '"completed"' in path.read_text(), "the record is written")
        assert get_job_status(job_id)["status"] == "running"
    assert results_of(job_id)["outcome"] == "passed"


AT_ONCE = """
import os, sys
from pytest_valor_schedule.client import submit
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.run_request import parse_request
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.config.home import Home

home = Home.find(os.environ)
order = parse_request("pytest", None)
request = RunOptions.parse("normal", 1, 10, None)
nodeids = ("test_it.py::test_it",)
found = Collection(nodeids=nodeids, rootdir=os.getcwd(), interpreter=sys.executable)
ready, go = os.pipe()
children = []
for number in range(100):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(ready, 1)  # until the parent lets go of the other end
        code = 1
        try:
            submit.submit(home, order, request, found)
            code = 0
        finally:
            os._exit(code)
    children.append(child)
os.close(go)
print(sum(os.waitpid(child, 0)[1] == 0 for child in children))
"""


@pytest.mark.usefixtures("one_slot")
def test_a_hundred_processes_schedule_at_once(project: Path, home: Home) -> None:
    """All get their job, each job an id and a record of its own."""
    project.joinpath("test_gated.py").write_text(GATED)
    running = scheduled_id(run_pytest("--schedule"))
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True)
    assert done.stdout.strip() == "100", done.stderr
    answer = list_jobs(limit=200)
    assert len({job["job_id"] for job in answer["jobs"]}) == answer["total"] == 101
    assert len(list(home.results.glob("*.json"))) == 101
    assert get_job_status(answer["jobs"][0]["job_id"])["queue_position"] == 100
    assert get_job_status(running)["status"] == "running"


def test_many_calls_start_one_dispatcher(home: Home) -> None:
    """Who looks at the queue while a dispatcher is only about to serve it starts no other."""
    home.make()
    for _ in range(5):
        service.ensure_running(home)
    assert len(processes_marked(f"VALOR_HOME={home.root}")) <= 2  # it and its watcher
    wait_until(lambda: service.is_running(home), "it serves")


def test_of_ten_dispatchers_one_serves(project: Path, home: Home) -> None:
    """Started at once, all but one end, and the job is run once."""
    project.joinpath("test_it.py").write_text("def test_it(): open('runs', 'a').write('x')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "call", lambda *_: None)
        job_id = schedule_tests("pytest")["job_id"]
    command = [sys.executable, "-m", "pytest_valor_schedule.daemon.watcher", str(home.root), "0"]
    started = [subprocess.Popen(command) for _ in range(10)]
    assert [process.wait(60) for process in started] == [0] * 10
    assert set(outcomes_of(job_id).values()) == {"passed"}
    assert get_job_status(job_id)["attempt"] == 1
    assert Path("runs").read_text() == "x"
