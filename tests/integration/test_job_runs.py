"""What becomes of jobs in which things go right and wrong."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("arguments", [[], ["--dist", "loadgroup"]])
def test_every_outcome_is_counted_as_pytest_counts_it(project: Path, arguments: list[str]) -> None:
    """A module with everything pytest knows ends as a plain run does, test by test."""
    shutil.copy(OUTCOMES, "test_every_outcome.py")
    Path("test_text.txt").write_text(">>> 1 + 1\n2\n\n>>> 1 + 1\n3\n")
    arguments = ["--doctest-modules", *arguments]
    plain = plain_outcomes(project, arguments)
    assert set(plain.values()) == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}
    assert differences(plain, scheduled_results(project, [*arguments, *TWO])) == []


def test_details_of_what_did_not_pass(project: Path) -> None:
    """Each kind of bad test has its phase, message, traceback, output, and its subtests."""
    shutil.copy(OUTCOMES, "test_every_outcome.py")
    results = results_of(scheduled_id(run_pytest("--schedule")))["results"]
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


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="this pytest has no subtests")
def test_subtests_are_listed(project: Path) -> None:
    """A test with failed subtests has failed, tells of the first, and lists them all."""
    Path("test_a.py").write_text(
        "def test_one(subtests):\n"
        "    for i in range(3):\n"
        "        with subtests.test('one', i=i):\n"
        "            assert i != 1\n"
    )
    [subtests] = results_of(scheduled_id(run_pytest("--schedule")))["results"]
    assert (subtests["outcome"], subtests["phase"]) == ("failed", "call")
    assert "assert 1 != 1" in subtests["longrepr"]
    assert subtests["message"].startswith("contains 1 failed subtest: [one] (i=1)")
    assert [each["outcome"] for each in subtests["subtests"]] == ["passed", "failed", "passed"]


def test_captured_output_is_bounded(project: Path) -> None:
    """A section of more than 64 KiB keeps head and tail and says what was cut."""
    Path("test_a.py").write_text(
        "def test_one():\n    print('head' + 'x' * 300_000 + 'tail')\n    assert 0"
    )
    [result] = results_of(scheduled_id(run_pytest("--schedule")))["results"]
    [(name, text)] = result["sections"]
    assert name == "Captured stdout call"
    assert text.startswith("head")
    assert text.endswith("tail\n")
    assert "characters cut out" in text
    assert len(text) < 70_000


def test_crash_is_one_test_s(project: Path) -> None:
    """A test that kills its worker is crashed, names its worker, and the others have results."""
    Path("test_a.py").write_text(
        "import os\ndef test_before(): pass\ndef test_bad(): os._exit(3)\ndef test_after(): pass"
    )
    results = results_of(scheduled_id(run_pytest("--schedule", "--max-workers", "1")))
    assert results["outcome"] == "failed"
    assert [each["outcome"] for each in results["results"]] == ["passed", "crashed", "passed"]
    assert results["results"][1]["message"] == "killed its worker gw0 (exit code 3)"


CRASHING = """
import ctypes, os, sys
def test_before(): print("of another test")
def test_crash():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(2, b"from C\\n")
    ctypes.CDLL(None).abort()
"""


def test_crashed_test_shows_its_last_words(project: Path) -> None:
    """What the test had printed is not lost with its worker, and nothing else is shown."""
    project.joinpath("test_it.py").write_text(CRASHING)
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "1"))
    _, crashed = results_of(job_id)["results"]
    assert crashed["outcome"] == "crashed"
    assert crashed["sections"] == [
        ["Captured stdout", "to stdout\n"],
        ["Captured stderr", "to stderr\nfrom C\n"],
    ]
    assert "SIGABRT" in crashed["message"]


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


def test_nothing_outlives_a_job(project: Path) -> None:
    """Daemons that a test started are gone when the job has ended, successful or not."""
    Path("test_a.py").write_text(
        "import subprocess, sys\n"
        "def test_one():\n"
        "    code = 'import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(300)'\n"
        "    subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL)\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],\n"
        "                     start_new_session=True)\n"
    )
    job_id = scheduled_id(run_pytest("--schedule"))
    assert results_of(job_id)["outcome"] == "passed"
    assert processes_marked(f"{JOB_ID_VARIABLE}={job_id}") == []


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


def test_workers_that_cannot_collect_are_an_error(project: Path) -> None:
    """Where pytest cannot run in the job, the outcome is error and a sentence says why."""
    Path("test_a.py").write_text("def test_one(): pass")
    Path("conftest.py").write_text(
        "def pytest_configure(config):\n"
        "    if hasattr(config, 'workerinput'): raise RuntimeError('not here')\n"
    )
    results = results_of(scheduled_id(run_pytest("--schedule")))
    assert results["outcome"] == "error"
    assert "No test ran: " in results["explanation"]


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


def test_output_of_the_run_is_kept(project: Path, home: Home) -> None:
    """What the job's pytest printed is in its log, and its standard input is empty."""
    Path("test_a.py").write_text("import sys\ndef test_one(): assert sys.__stdin__.read() == ''\n")
    job_id = scheduled_id(run_pytest("--schedule", "-s"))
    assert results_of(job_id)["outcome"] == "passed"
    assert "1 passed" in home.output(job_id).read_text()


def test_log_is_kept_within_its_limit(project: Path, home: Home) -> None:
    """Of too much output head and tail are kept, and how much was cut out is said."""
    project.joinpath("test_it.py").write_text("def test_it(): print('x' * 3_000_000)")
    job_id = scheduled_id(run_pytest("--schedule", "-rP", "-o", "valor_schedule_log_mb=0.5"))
    assert results_of(job_id)["outcome"] == "passed"
    output = home.output(job_id)
    assert output.stat().st_size < 0.5 * 2**20
    assert "bytes of output cut out" in output.read_text()
    assert "1 passed" in output.read_text()


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
