"""What becomes of jobs in which things go right and wrong."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import cancel_job, get_job_status
from pytest_valor_schedule.client import administer
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue.store import JobStore
from tests.support import every_outcome
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    outcomes_of,
    record_of,
    results_of,
    run_pytest,
    run_tool,
    schedule,
    scheduled_id,
)
from tests.support.waiting import processes_marked, wait_until
from tests.tools.chaos import machinery
from tests.tools.parity import differences, plain_outcomes, scheduled_results

pytestmark = pytest.mark.home_in_use

OUTCOMES = Path(every_outcome.__file__)
TORN_DOWN = """
import pathlib, pytest
@pytest.fixture(autouse=True)
def around():
    pathlib.Path("begun").touch()
    yield
    pathlib.Path("torn_down").touch()
"""


TWO = ("--max-workers", "2")


def test_every_outcome_is_counted_as_pytest_counts_it(project: Path) -> None:
    """A module with everything pytest knows ends as a plain run does, test by test."""
    shutil.copy(OUTCOMES, "test_every_outcome.py")
    Path("test_text.txt").write_text(">>> 1 + 1\n2\n\n>>> 1 + 1\n3\n")
    plain = plain_outcomes(project, ["--doctest-modules"])
    assert set(plain.values()) == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}
    for options in ((), ("--dist", "loadgroup")):
        scheduled = scheduled_results(project, ["--doctest-modules", *options, *TWO])
        assert differences(plain, scheduled) == []
    _assert_details_of_what_did_not_pass(scheduled["results"])


def _assert_details_of_what_did_not_pass(results: list[dict[str, Any]]) -> None:
    """Each kind of bad test has its phase, message and traceback."""
    by_name = {each["nodeid"].partition("::")[2]: each for each in results}
    setup = by_name["test_error_in_setup"]
    assert (setup["phase"], setup["message"]) == ("setup", "RuntimeError: no setup")
    both = by_name["test_failure_and_error_in_teardown"]
    assert (both["phase"], both["outcome"]) == ("call", "failed")
    assert "assert 0" in both["longrepr"]
    assert "no teardown" in both["longrepr"]
    assert by_name["test_skipped"]["message"] == "not now"
    assert by_name["test_known_bug"]["message"] == "known"
    assert by_name["test_rerun"]["reruns"] == 1


OF_BAD_TESTS = """
import ctypes, os, sys
def test_before(): print("of another test")
def test_crash():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(2, b"from C\\n")
    ctypes.CDLL(None).abort()
def test_after(): pass
def test_much():
    print("head" + "x" * 300_000 + "tail")
    assert 0
"""
WITH_SUBTESTS = """
def test_parts(subtests):
    for i in range(3):
        with subtests.test("one", i=i):
            assert i != 1
"""


def test_what_bad_tests_leave_is_in_their_results(project: Path) -> None:
    """The last words of one that crashed, a bounded output, and all subtests."""
    has_subtests = hasattr(pytest, "Subtests")
    Path("test_a.py").write_text(OF_BAD_TESTS + WITH_SUBTESTS * has_subtests)
    results = results_of(schedule("--max-workers", "1"))
    before, crashed, after, much, *parts = results["results"]
    assert results["outcome"] == "failed"
    assert [each["outcome"] for each in (before, after, much)] == ["passed", "passed", "failed"]
    _assert_shows_its_last_words(crashed)
    _assert_is_bounded(much)
    assert len(parts) == has_subtests
    for each in parts:
        _assert_lists_its_subtests(each)


def _assert_shows_its_last_words(crashed: dict[str, Any]) -> None:
    """What the test had printed is not lost with its worker, and nothing else is shown."""
    assert crashed["outcome"] == "crashed"
    assert crashed["message"].startswith("killed its worker gw0 (SIGABRT")
    assert crashed["sections"] == [
        ["Captured stdout", "to stdout\n"],
        ["Captured stderr", "to stderr\nfrom C\n"],
    ]


def _assert_is_bounded(result: dict[str, Any]) -> None:
    """A section of more than 64 KiB keeps head and tail and says what was cut."""
    [(name, text)] = result["sections"]
    assert name == "Captured stdout call"
    assert text.startswith("head")
    assert text.endswith("tail\n")
    assert "characters cut out" in text
    assert len(text) < 70_000


def _assert_lists_its_subtests(result: dict[str, Any]) -> None:
    """A test with failed subtests has failed, tells of the first, and lists them all."""
    assert (result["outcome"], result["phase"]) == ("failed", "call")
    assert "assert 1 != 1" in result["longrepr"]
    assert result["message"].startswith("contains 1 failed subtest: [one] (i=1)")
    assert [each["outcome"] for each in result["subtests"]] == ["passed", "failed", "passed"]


def test_time_limit_ends_the_run_and_keeps_results(project: Path) -> None:
    """What had finished keeps its result; what was running is named, with its stacks."""
    Path("test_a.py").write_text(
        "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)\n"
        "def test_last(): pass"
    )
    done = run_pytest("--schedule", "--timeout-minutes", "0.05", "--max-workers", "1")
    results = results_of(scheduled_id(done))
    assert results["outcome"] == "timed_out"
    assert results["explanation"] == (
        "The time limit of 0.05 minutes ended the run. test_a.py::test_slow was running then."
    )
    assert results["results"][1]["message"] == "was running when the time limit ended the run"
    assert "in test_slow" in results["results"][1]["longrepr"]
    assert "NOT_RUN test_a.py::test_slow" in run_tool("results").stdout
    assert [each["outcome"] for each in results["results"]] == ["passed", "not_run", "not_run"]
    assert get_job_status(results["job_id"])["status"] == "completed"


def test_stop_after_some_failures_is_no_loss(project: Path) -> None:
    """With --maxfail the job has failed, each worker soon stops, and the rest is not_run."""
    Path("test_a.py").write_text("\n".join(f"def test_{n}(): assert 0" for n in range(60)))
    results = results_of(scheduled_id(run_pytest("--schedule", "--maxfail=2", *TWO)))
    assert results["outcome"] == "failed"
    assert 2 <= results["summary"]["failed"] <= 4
    assert results["summary"]["not_run"] == 60 - results["summary"]["failed"]
    assert "pytest stopped (stopping after " in results["explanation"]


def test_stepwise_goes_on_where_it_stopped(project: Path) -> None:
    """--sw stops at the first failure in the order of collection, and the next run begins there.

    It does so with one worker, whatever is asked for: a failure that another worker comes to
    earlier would hide those before it from the next run.
    """
    Path("test_a.py").write_text(
        "import pytest\n@pytest.mark.parametrize('number', range(6))\n"
        "def test_n(number): assert number not in (2, 4)"
    )
    options = ("--sw", "--schedule-wait", "--max-workers", "2")
    done = run_pytest(*options)
    assert done.returncode == 2
    assert "Interrupted: Test failed, continuing from this test next run." in done.stdout
    summary = results_of(scheduled_id(done))["summary"]
    assert (summary["passed"], summary["failed"], summary["not_run"]) == (2, 1, 3)
    Path("test_a.py").write_text(Path("test_a.py").read_text().replace("(2, 4)", "(4,)"))
    again = results_of(scheduled_id(run_pytest(*options)))
    assert [each["nodeid"][-2] for each in again["results"]] == ["2", "3", "4", "5"]
    assert again["summary"]["not_run"] == 1


def test_what_the_cache_has_chosen_is_all_run(project: Path) -> None:
    """--lf runs everything that failed before, in as many workers as it may have."""
    Path("test_a.py").write_text(
        "import pytest\n@pytest.mark.parametrize('number', range(6))\n"
        "def test_n(number): assert number not in (1, 2, 4)"
    )
    Path("test_b.py").write_text("def test_good(): pass\ndef test_bad(): assert 0")
    assert run_pytest().returncode == 1
    done = run_pytest("--lf", "--schedule-wait", "--max-workers", "2")
    assert done.returncode == 1
    assert set(outcomes_of(scheduled_id(done)).values()) == {"failed"}
    assert len(outcomes_of(scheduled_id(done))) == 4


@pytest.mark.usefixtures("one_slot")
def test_tests_that_changed_meanwhile_are_accounted_for(project: Path) -> None:
    """A test that is gone when the job starts is not_run, and a new one is in the record too."""
    Path("test_gated.py").write_text(GATED)
    Path("test_a.py").write_text("def test_old(): pass\ndef test_stays(): pass")
    run_pytest("--schedule", "test_gated.py")
    job_id = scheduled_id(run_pytest("--schedule", "test_a.py"))
    # Of another size, or bytecode of the same second would count as that of the new text.
    Path("test_a.py").write_text("def test_added(): pass\ndef test_stays(): pass")
    open_gate()
    results = results_of(job_id)
    assert {each["nodeid"][16:]: each["outcome"] for each in results["results"]} == {
        "old": "not_run",
        "stays": "passed",
        "added": "passed",
    }
    assert results["outcome"] == "incomplete"


@pytest.mark.usefixtures("one_slot")
def test_folder_that_is_gone_is_an_error(project: Path) -> None:
    """A job whose folder was deleted before its start ends with that as its explanation."""
    Path("test_gated.py").write_text(GATED)
    Path("gone").mkdir()
    Path("gone/test_a.py").write_text("def test_one(): pass")
    schedule("test_gated.py")
    job_id = schedule(folder=Path("gone"))
    shutil.rmtree("gone")
    open_gate()
    results = results_of(job_id)
    assert results["outcome"] == "error"
    assert "is not there any more" in results["explanation"]


def test_output_of_the_run_is_kept_within_its_limit(project: Path, home: Home) -> None:
    """Of too much head and tail are kept, and how much was cut out is said; no input is there."""
    Path("test_it.py").write_text("import sys\ndef test_it(): assert sys.__stdin__.read() == ''\n")
    Path("conftest.py").write_text("def pytest_terminal_summary(): print('x' * 3_000_000)")
    job_id = schedule("-s", "-o", "valor_schedule_log_mb=0.5")
    assert results_of(job_id)["outcome"] == "passed"
    output = home.output(job_id)
    assert output.stat().st_size < 0.5 * 2**20
    text = output.read_text()
    assert "test session starts" in text
    assert "bytes of output cut out" in text
    assert "1 passed" in text


def test_everything_at_home_is_private(project: Path, empty_home: Home) -> None:
    """Whatever the umask, files are 0600 and folders 0700."""
    Path("test_a.py").write_text("def test_one(): pass")
    before = os.umask(0)
    try:
        results_of(scheduled_id(run_pytest("--schedule")))
    finally:
        os.umask(before)
    for path in [empty_home.root, *empty_home.root.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == wanted, path


@pytest.mark.usefixtures("one_slot")
def test_a_secret_is_nowhere_when_its_jobs_have_ended(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte of the home has it, however a job ended, while the dispatcher still lives."""
    monkeypatch.setenv("API_TOKEN", "s3cr3t-value")
    Path("test_gated.py").write_text(f"{GATED}\ndef test_fails(): assert 0")
    first, killed, cancelled, last = (scheduled_id(run_pytest("--schedule")) for _ in range(4))
    assert len(_files_with(b"s3cr3t-value", home)) == 4
    cancel_job(cancelled)
    open_gate()
    results_of(first)
    Path("gate").unlink()
    wait_until(lambda: is_running(killed), "the next one runs")
    with JobStore(home) as store:
        os.kill(Identity.from_text(store.claim(killed) or "").pid, signal.SIGKILL)
    results_of(killed)
    open_gate()
    results_of(last)
    assert service.is_running(home)
    assert _files_with(b"s3cr3t-value", home) == []
    administer.prune_jobs(0)
    assert _files_with(b"s3cr3t-value", home) == []


def _files_with(text: bytes, home: Home) -> list[Path]:
    files = [path for path in home.root.rglob("*") if path.is_file()]
    return [path for path in files if text in path.read_bytes()]


def test_survives_the_death_of_its_terminal(project: Path) -> None:
    """A job goes on when the whole process group that scheduled it is killed."""
    Path("test_a.py").write_text("import time\ndef test_one(): time.sleep(1.5)")
    shell = subprocess.Popen(
        [f"{sys.executable} -m pytest --schedule -q; sleep 60"],
        shell=True,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None
    job_id = next(line.split()[1].rstrip(":") for line in shell.stdout if "scheduled" in line)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    shell.stdout.close()
    assert outcomes_of(job_id) == {"test_a.py::test_one": "passed"}


def test_teardowns_run_though_the_submitter_ignored_interrupts(project: Path) -> None:
    """A job scheduled by a script in the background is cancelled as gently as any other."""
    project.joinpath("conftest.py").write_text(TORN_DOWN)
    project.joinpath("test_it.py").write_text("import time\ndef test_it(): time.sleep(600)")
    command = f"trap '' INT; {shlex.quote(sys.executable)} -m pytest --schedule"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    job_id = scheduled_id(done)
    wait_until(Path("begun").exists, "the test has begun")
    assert cancel_job(job_id)["status"] == "cancelled"
    assert Path("torn_down").exists()


def test_dead_runner_s_job_is_finished_from_its_journals(project: Path, home: Home) -> None:
    """When a runner is killed, somebody else writes the record with what the journals say."""
    Path("test_a.py").write_text(
        "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)"
    )
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "1"))
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("finished") == 1,
        "the quick test has finished",
    )
    with JobStore(home) as store:
        claim = store.claim(job_id)
    assert claim is not None
    os.kill(Identity.from_text(claim).pid, signal.SIGKILL)
    assert outcomes_of(job_id) == {
        "test_a.py::test_quick": "passed",
        "test_a.py::test_slow": "not_run",
    }
    record = record_of(home, job_id)
    assert record["outcome"] == "incomplete"
    assert record["explanation"] == (
        "1 of 2 tests have no result: its runner was killed (SIGKILL). It was running then."
    )
    wait_until(
        lambda: not processes_marked(f"{JOB_ID_VARIABLE}={job_id}"), "no process of the job lives"
    )


def test_an_interrupt_ends_nothing_in_the_background(project: Path, empty_home: Home) -> None:
    """SIGINT is for what has a terminal: the job goes on, and no log has a traceback."""
    project.joinpath("test_gated.py").write_text(GATED)
    jobs = [schedule("--max-workers", "1") for _ in range(2)]
    # Then nothing is forked any more, which would have the name of what forks for a moment.
    wait_until(lambda: all(map(_runs_a_test, jobs)), "their tests run")
    home = empty_home
    kinds = ["dispatcher", "runner", "runner"]

    def background() -> dict[int, str]:
        found = machinery(home.root)
        return {pid: kind for pid, kind in found.items() if kind in (*kinds, "forks")}

    def are_all_there() -> bool:  # of what forks, one for each job, and more where it pays
        found = sorted(background().values())
        return [kind for kind in found if kind != "forks"] == kinds and found.count("forks") > 1

    wait_until(are_all_there, "all are there")
    before = background()
    for pid in before:
        os.kill(pid, signal.SIGINT)
    wait_until(lambda: not any(map(_has_pending_signals, before)), "they have taken it")
    assert background().items() >= before.items()
    open_gate()
    assert [outcomes_of(job_id) for job_id in jobs] == [{"test_gated.py::test_gated": "passed"}] * 2
    assert {get_job_status(job_id)["attempt"] for job_id in jobs} == {1}
    logs = [home.dispatcher_log, *map(home.output, jobs)]
    assert not [log for log in logs if "Traceback" in log.read_text()]


def _runs_a_test(job_id: str) -> bool:
    return bool(get_job_status(job_id).get("progress", {}).get("running"))


def _has_pending_signals(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(line.startswith(("SigPnd", "ShdPnd")) and int(line[8:], 16) for line in lines)
