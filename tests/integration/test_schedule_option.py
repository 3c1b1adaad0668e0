"""`pytest --schedule` in a terminal."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_valor_schedule import list_jobs
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.queue import job_estimates
from pytest_valor_schedule.queue.history import History, Run
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import (
    QUICK,
    nothing_scheduled,
    outcomes_of,
    record_of,
    results_of,
    run_pytest,
    run_tool,
    scheduled_id,
)

TWO_TESTS = "def test_one(): pass\ndef test_two(): assert 0"


def test_hands_over_and_returns_at_once(project: Path, empty_home: Home) -> None:
    """The terminal gets id, count, estimate, place and commands, and exit code 0."""
    Path("test_a.py").write_text(TWO_TESTS)
    done = run_pytest("--schedule", "--priority", "high", "--max-workers", "3")
    job_id = scheduled_id(done)
    assert done.returncode == 0
    assert "collected 2 items" in done.stdout
    assert f"scheduled {job_id}: 2 tests on 2 workers, duration not known yet" in done.stdout
    assert "1st in the queue, starts now" in done.stdout
    assert f"results {job_id[-6:]}" in done.stdout
    assert "2 scheduled in" in done.stdout
    assert outcomes_of(job_id) == {"test_a.py::test_one": "passed", "test_a.py::test_two": "failed"}
    record = record_of(empty_home, job_id)
    assert (record["priority"], record["max_workers"], record["workers"]) == ("high", 3, 2)
    assert record["specification"] == "pytest"


@pytest.mark.home_in_use
def test_second_run_is_estimated_from_the_first(project: Path) -> None:
    """The estimate says how many runs it rests on."""
    Path("test_a.py").write_text(TWO_TESTS)
    results_of(scheduled_id(run_pytest("--schedule")))
    assert "(from 1 run)" in run_pytest("--schedule").stdout


@pytest.mark.usefixtures("no_dispatcher")
def test_waits_behind_what_runs(project: Path, home: Home) -> None:
    """A job that cannot start yet is told its place and why it waits, and when it will start."""
    Path("test_a.py").write_text(TWO_TESTS)
    run_pytest("--schedule")
    assert "2nd in the queue: waits for 1 job ahead of it" in run_pytest("--schedule").stdout
    with JobStore(home) as store:
        seconds = {"test_a.py::test_one": 2.3, "test_a.py::test_two": 2.3}
        run = Run(selection="", workers=1, overhead_seconds=1.0)
        History(store.database).learn(project_of(str(project)), seconds, time.time(), run=run)
        job_estimates.estimate_anew(store)
    said = run_pytest("--schedule").stdout
    assert "3rd in the queue, expected to start in 7s: waits for 2 jobs ahead of it" in said


@pytest.mark.parametrize(
    ("arguments", "exit_code", "shown"),
    [
        (["broken.py"], 2, "NameError"),
        (["missing_test.py"], 4, "file or directory not found"),
        (["--no-such-option"], 4, "unrecognized arguments"),
        (["-k", "nothing"], 5, "2 deselected"),
        (["--priority", "urgent"], 4, "--priority is 'urgent', but must be"),
        (["--max-workers", "0"], 4, "--max-workers is 0, but must be"),
        (["--max-workers", "many"], 4, "--max-workers is 'many', but must be"),
        (["--timeout-minutes", "-1"], 4, "--timeout-minutes is -1, but must be"),
        (["--timeout-minutes", "nan"], 4, "--timeout-minutes is nan, but must be"),
        (["--notify", ""], 4, "--notify is '', but must be"),
        (["--pdb"], 4, "--pdb opens a debugger"),
        (["--trace"], 4, "--trace opens a debugger"),
        (["--collect-only"], 4, "--collect-only runs no test"),
        (["--dist", "each"], 4, "--dist each runs each test more than once"),
        (["-p", "no:xdist"], 4, "needs the plugin pytest-xdist"),
    ],
)
def test_what_cannot_run_is_not_scheduled(
    project: Path, arguments: list[str], exit_code: int, shown: str
) -> None:
    """Errors of pytest keep their text and exit code, ours are one sentence; no job is made."""
    Path("test_a.py").write_text(TWO_TESTS)
    Path("broken.py").write_text("nonsense")  # not collected unless it is named
    done = run_pytest("--schedule", *arguments)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert shown in done.stdout + done.stderr
    assert nothing_scheduled()


@pytest.mark.home_in_use
def test_collection_errors_may_be_accepted(project: Path) -> None:
    """With --continue-on-collection-errors the rest is scheduled and the error is recorded."""
    Path("test_a.py").write_text("def test_one(): pass")
    Path("test_b.py").write_text("nonsense")
    done = run_pytest("--schedule", "--continue-on-collection-errors")
    assert done.returncode == 1
    results = results_of(scheduled_id(done))
    assert results["outcome"] == "failed"
    assert [error["nodeid"] for error in results["collection_errors"]] == ["test_b.py"]


@pytest.mark.home_in_use
def test_no_workers_start_in_the_terminal(project: Path, home: Home) -> None:
    """A project's own -n starts no idle workers here and is superseded in the job."""
    Path("pytest.ini").write_text("[pytest]\naddopts = -n 3\n")
    Path("test_a.py").write_text(
        "import os\ndef test_one(): assert os.environ['PYTEST_XDIST_WORKER_COUNT'] == '1'"
    )
    done = run_pytest("--schedule")
    assert "bringing up nodes" not in done.stdout
    assert "collected 1 item" in done.stdout
    assert results_of(scheduled_id(done))["outcome"] == "passed"


@pytest.mark.home_in_use
def test_report_file_is_left_to_the_job(project: Path) -> None:
    """--junit-xml is written by the job and not emptied by the terminal."""
    Path("test_a.py").write_text("def test_one(): pass")
    Path("report.xml").write_text("old")
    done = run_pytest("--schedule", "--junit-xml=report.xml")
    assert "generated xml" not in done.stdout
    results_of(scheduled_id(done))
    assert 'tests="1"' in Path("report.xml").read_text()


@pytest.mark.usefixtures("no_dispatcher")
@pytest.mark.parametrize("verbosity", ["-q", "-qq"])
def test_quiet_is_one_line(project: Path, verbosity: str) -> None:
    """-q keeps only the line with the job id."""
    Path("test_a.py").write_text("def test_one(): pass")
    done = run_pytest("--schedule", verbosity)
    lines = [line for line in done.stdout.splitlines() if "schedule" in line]
    assert lines[0].startswith(f"scheduled {scheduled_id(done)}: 1 test on 1 worker")
    assert "cancel" not in done.stdout


@pytest.mark.usefixtures("no_dispatcher")
def test_works_without_a_terminal_reporter(project: Path) -> None:
    """The id is printed even where pytest has no terminal reporter."""
    Path("test_a.py").write_text("def test_one(): pass")
    assert scheduled_id(run_pytest("--schedule", "-p", "no:terminal"))


@pytest.mark.home_in_use
@pytest.mark.parametrize(("body", "exit_code"), [("pass", 0), ("assert 0", 1)])
def test_schedule_wait_returns_the_run_s_exit_code(
    project: Path, body: str, exit_code: int
) -> None:
    """--schedule-wait shows the results and ends as the run did."""
    Path("test_a.py").write_text(f"def test_one(): {body}")
    done = run_pytest("--schedule", "--schedule-wait")
    assert done.returncode == exit_code
    assert ("FAILED test_a.py::test_one" in done.stdout) == bool(exit_code)


@pytest.mark.usefixtures("no_dispatcher")
def test_ini_schedules_every_run(project: Path, home: Home) -> None:
    """A project can switch scheduling on for all its runs, with its own defaults."""
    Path("pytest.ini").write_text(
        "[pytest]\nvalor_schedule_schedule = true\nvalor_schedule_priority = low\n"
        "valor_schedule_max_workers = 1\nvalor_schedule_timeout_minutes = 1.5\n"
    )
    Path("test_a.py").write_text(TWO_TESTS)
    record = record_of(home, scheduled_id(run_pytest()))
    assert (record["priority"], record["max_workers"]) == ("low", 1)
    assert record["timeout_minutes"] == 1.5


@pytest.mark.parametrize("argument", ["--collect-only", "--setup-plan", "--help", "--markers"])
def test_ini_leaves_other_runs_alone(project: Path, argument: str) -> None:
    """Where all runs are scheduled, those that make no sense in the background run here."""
    Path("pytest.ini").write_text("[pytest]\nvalor_schedule_schedule = true\n")
    Path("test_a.py").write_text("def test_one(): pass")
    assert run_pytest(argument).returncode == 0
    assert nothing_scheduled()


@pytest.mark.home_in_use
@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="pytest takes only text")
def test_settings_of_toml_have_its_types(project: Path, home: Home) -> None:
    """In pytest's own table true, numbers and text mean what they mean in an ini file."""
    Path("pyproject.toml").write_text(
        "[tool.pytest]\nvalor_schedule_schedule = true\nvalor_schedule_max_workers = 1\n"
        "valor_schedule_timeout_minutes = 0.5\nvalor_schedule_fork_workers = false\n"
    )
    Path("test_a.py").write_text(TWO_TESTS)
    record = record_of(home, scheduled_id(run_pytest()))
    assert (record["max_workers"], record["timeout_minutes"]) == (1, 0.5)


def test_environment_wins_over_ini(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VALOR_SCHEDULE_SCHEDULE=0 runs here what the ini file would schedule."""
    Path("pytest.ini").write_text("[pytest]\nvalor_schedule_schedule = true\n")
    Path("test_a.py").write_text("def test_one(): pass")
    monkeypatch.setenv("VALOR_SCHEDULE_SCHEDULE", "0")
    assert "1 passed" in run_pytest().stdout
    assert nothing_scheduled()


@pytest.mark.usefixtures("no_dispatcher")
def test_a_misspelt_setting_is_warned_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is scheduled, and whoever asked is told what was not heeded."""
    monkeypatch.setenv("VALOR_SCHEDULE_PRIORTY", "high")
    Path("test_a.py").write_text(TWO_TESTS)
    done = run_pytest("--schedule")
    assert scheduled_id(done)
    assert (
        "warning: The environment has VALOR_SCHEDULE_PRIORTY, which is no setting; "
        "VALOR_SCHEDULE_PRIORITY is one." in done.stdout
    )


def test_bad_setting_names_its_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be used is blamed on the place that it came from."""
    Path("test_a.py").write_text("def test_one(): pass")
    monkeypatch.setenv("VALOR_SCHEDULE_PRIORITY", "asap")
    done = run_pytest("--schedule")
    assert "the environment variable VALOR_SCHEDULE_PRIORITY is 'asap'" in done.stderr
    assert done.returncode == 4


@pytest.mark.home_in_use
def test_conftest_schedules(project: Path) -> None:
    """A conftest.py can decide to schedule in its pytest_configure."""
    Path("conftest.py").write_text("def pytest_configure(config): config.option.schedule = True")
    Path("test_a.py").write_text("def test_one(): pass")
    assert results_of(scheduled_id(run_pytest()))["outcome"] == "passed"


def test_plugin_can_be_switched_off(project: Path) -> None:
    """-p no:valor_schedule leaves nothing of the plugin."""
    Path("test_a.py").write_text("def test_one(): pass")
    assert "1 passed" in run_pytest("-p", "no:valor_schedule").stdout
    assert "unrecognized arguments: --schedule" in (
        run_pytest("-p", "no:valor_schedule", "--schedule").stderr
    )


@pytest.mark.home_in_use
def test_job_runs_as_the_terminal_would(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interpreter, its options, environment, working directory and arguments are the terminal's."""
    monkeypatch.setenv("FLAVOUR", "vanilla")
    Path("sub").mkdir()
    Path("sub/test_a.py").write_text(
        "import os, sys\n"
        "def test_one(pytestconfig):\n"
        "    assert os.environ['FLAVOUR'] == 'vanilla'\n"
        f"    assert sys.executable == {sys.executable!r}\n"
        "    assert os.path.basename(os.getcwd()) == 'sub'\n"
        "    assert pytestconfig.getoption('keyword') == 'one or two'\n"
    )
    command = [
        sys.executable,
        "-X",
        "dev",
        "-m",
        "pytest",
        *QUICK,
        "--schedule",
        "-k",
        "one or two",
    ]
    done = subprocess.run(command, cwd="sub", capture_output=True, text=True)
    job_id = scheduled_id(done)
    assert results_of(job_id)["outcome"] == "passed"
    assert record_of(home, job_id)["command"][1:5] == ["-X", "dev", "-m", "pytest"]


@pytest.mark.home_in_use
def test_works_from_a_program(project: Path) -> None:
    """pytest.main() in a program schedules pytest, not the program."""
    Path("test_a.py").write_text("def test_one(): pass")
    program = "import pytest; raise SystemExit(pytest.main(['--schedule', 'test_a.py']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert results_of(scheduled_id(done))["outcome"] == "passed"


@pytest.mark.home_in_use
def test_job_needs_no_plugin_autoload(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job records also where PYTEST_DISABLE_PLUGIN_AUTOLOAD is set."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    Path("test_a.py").write_text("def test_one(): pass")
    done = run_pytest("-p", "xdist", "-p", "valor_schedule", "--schedule")
    assert results_of(scheduled_id(done))["outcome"] == "passed"


@pytest.mark.home_in_use
def test_a_job_has_the_seed_that_the_terminal_shows(project: Path, home: Home) -> None:
    """What pytest-randomly draws once for a run is the same in terminal, job and rerun."""
    Path("conftest.py").write_text(DRAWS_A_SEED)
    Path("test_a.py").write_text(
        "def test_one(request): print(request.config.option.randomly_seed)"
    )
    done = run_pytest("--schedule", "-s")
    first = scheduled_id(done)
    seed = re.search(r"Using --randomly-seed=\d+", done.stdout)
    assert seed
    for job_id in (first, scheduled_id(run_tool("rerun", first))):
        assert results_of(job_id)["outcome"] == "passed"
        assert seed[0].split()[1] in record_of(home, job_id)["command"]
        assert seed[0] in run_tool("logs", job_id).stdout


DRAWS_A_SEED = """
import random
def pytest_addoption(parser):
    parser.addoption("--randomly-seed", type=int)
def pytest_configure(config):
    if config.option.randomly_seed is None:
        config.option.randomly_seed = random.getrandbits(32)
def pytest_report_header(config):
    return f"Using --randomly-seed={config.option.randomly_seed}"
"""
"""As pytest-randomly does."""


def test_pytest_inside_a_job_runs_directly(project: Path) -> None:
    """A pytest started by a test of a job is neither scheduled nor taken for the job."""
    Path("inner").mkdir()
    Path("inner/test_inner.py").write_text("def test_inner(): pass")
    Path("test_a.py").write_text(
        "import subprocess, sys\n"
        "def test_one():\n"
        "    command = [sys.executable, '-m', 'pytest', '--schedule', 'inner']\n"
        "    done = subprocess.run(command, capture_output=True, text=True)\n"
        "    assert '1 passed' in done.stdout, done.stdout + done.stderr\n"
    )
    assert outcomes_of(scheduled_id(run_pytest("--schedule", "test_a.py"))) == {
        "test_a.py::test_one": "passed"
    }
    assert list_jobs()["total"] == 1


def test_job_may_schedule_another(project: Path) -> None:
    """A test of a job can schedule, and the new job runs after the one it came from."""
    Path("test_later.py").write_text("def test_later(): pass")
    Path("test_a.py").write_text(
        "from pytest_valor_schedule import schedule_tests\n"
        "def test_one(): assert 'error' not in schedule_tests('pytest test_later.py')\n"
    )
    first = scheduled_id(run_pytest("--schedule", "test_a.py"))
    assert results_of(first)["outcome"] == "passed"
    [second] = [job["job_id"] for job in list_jobs()["jobs"] if job["job_id"] != first]
    assert results_of(second)["outcome"] == "passed"


def test_unusable_home_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot be made gives one sentence and pytest's usage error."""
    Path("test_a.py").write_text("def test_one(): pass")
    Path("file").write_text("")
    monkeypatch.setenv("VALOR_HOME", str(project / "file"))
    done = run_pytest("--schedule")
    assert done.returncode == 4
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_relative_home_is_refused_by_all_who_read_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command, a function and an option say so and make no folder; a plain run is as ever."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    monkeypatch.setenv("VALOR_HOME", "valor")
    assert "relative path" in list_jobs()["error"]
    assert "relative path" in run_tool("list").stderr
    refused = run_pytest("--schedule")
    assert refused.returncode == 4
    assert "relative path" in refused.stderr
    (project / "valor" / "test_schedule").mkdir(parents=True)
    config = project / "valor" / "test_schedule" / "config.toml"
    config.write_text('direct_runs = "queue"')
    done = run_pytest()
    assert (done.returncode, "1 passed" in done.stdout) == (0, True)
    assert [path for path in project.rglob("valor/**/*") if path.is_file()] == [config]
