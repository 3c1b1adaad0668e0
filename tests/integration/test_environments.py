"""What reaches a job, and what serves it, of the process that scheduled it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import dispatcher, runner, watcher
from pytest_valor_schedule.process.processes import background_environment
from tests.support.scheduled import GATED, JOB_ID, open_gate, outcomes_of, results_of, schedule
from tests.support.waiting import serving, wait_until

MEASURING = """
import os, pytest, sys
@pytest.hookimpl(wrapper=True)  # before all others, whoever was registered first
def pytest_load_initial_conftests():
    if sys.argv[0] != "-c":  # no worker, which has what its controller has
        with open("seen", "a") as file:
            print("COVERAGE_PROCESS_CONFIG" in os.environ, "FROM_USER" in os.environ, file=file)
    os.environ["COVERAGE_PROCESS_CONFIG"] = "measure every process from now on"
    return (yield)
"""


@pytest.mark.home_in_use
@pytest.mark.parametrize("how", ["-p", "PYTEST_ADDOPTS"])
def test_a_job_has_the_environment_that_its_submitter_was_started_with(
    project: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What a plugin such as pytest-cov sets for its own processes does not come to the job."""
    project.joinpath("measuring.py").write_text(MEASURING)
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    monkeypatch.setenv("FROM_USER", "1")
    if how == "PYTEST_ADDOPTS":
        monkeypatch.setenv(how, f"{os.environ[how]} -p measuring")
    assert outcomes_of(schedule(*([how, "measuring"] if how == "-p" else []))) == {
        "test_it.py::test_it": "passed"
    }
    assert Path("seen").read_text().splitlines() == ["False True"] * 2


PROGRAM = """
import os, pytest
for value in ("1", "2"):
    os.environ["FROM_PROGRAM"] = value
    pytest.main(["--schedule", "-q", "-p", "no:cacheprovider"])
"""


@pytest.mark.home_in_use
def test_a_job_has_what_a_program_set_for_its_pytest(project: Path) -> None:
    """Each of several runs of one process has the environment of its own moment."""
    project.joinpath("program.py").write_text(PROGRAM)
    project.joinpath("test_it.py").write_text(
        "import os\ndef test_it(): open('seen', 'a').write(os.environ['FROM_PROGRAM'] + '.')"
    )
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
    for job_id in JOB_ID.findall(done.stdout):
        assert results_of(job_id)["outcome"] == "passed"
    assert sorted(Path("seen").read_text()[:-1].split(".")) == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_dispatcher_has_little_of_its_first_submitter(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not its secrets, not what measures it, not the signals that a conftest.py ignores."""
    for name in ("API_TOKEN", "COVERAGE_PROCESS_CONFIG", "VIRTUAL_ENV", "VALOR_SCHEDULE_NOTIFY"):
        monkeypatch.setenv(name, "of-one-submitter")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    project.joinpath("conftest.py").write_text(
        "import os, signal\n"
        "os.umask(0); os.environ['PYTHONPATH'] = 'of-one-submitter'\n"
        "for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):\n"
        "    signal.signal(each, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    )
    project.joinpath("test_gated.py").write_text(GATED)
    job_id = schedule()
    wait_until(lambda: serving(home.root, runner.PROCESS_NAME), "it runs")
    for name in (watcher.NAME, dispatcher.NAME, runner.PROCESS_NAME):
        # What a runner starts has its name for a moment.
        [pid] = wait_until(partial(_only_one, home, name), "there is one of its name")
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "of-one-submitter" not in environment
        assert "LC_ALL=C.UTF-8" in environment.split("\0")
        state = _status(pid)
        assert int(state["SigIgn"], 16) & _mask(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) == 0
        assert state["Umask"] == "0077"
        # The C library blocks every signal for the moment of a fork.
        wait_until(partial(_blocks_nothing, pid), "it blocks no signal")
    open_gate()
    results_of(job_id)


def _only_one(home: Home, name: str) -> list[int]:
    found = list(serving(home.root, name))
    return found if len(found) == 1 else []


def _blocks_nothing(pid: int) -> bool:
    return int(_status(pid)["SigBlk"], 16) == 0


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def _mask(*numbers: int) -> int:
    return sum(1 << number - 1 for number in numbers)


def test_a_background_process_has_what_its_interpreter_needs(home: Home) -> None:
    """Its packages are found and like jobs can be forked; the rest stays where it was."""
    needed = {"PYTHONPATH": "/a", "LD_LIBRARY_PATH": "/b", "TZ": "UTC", "HOME": "/c"}
    needed |= {"VALOR_SCHEDULE_SLOTS": "3", "LANG": "C.UTF-8"}
    others = {"PATH": "/bin", "LD_PRELOAD": "x.so", "COVERAGE_RCFILE": "x", "TOKEN": "x"}
    others |= {"VALOR_HOME": "/elsewhere", "VALOR_SCHEDULE_TELEGRAM_TOKEN": "x"}
    found = background_environment(home, {**needed, **others})
    assert found.pop("VALOR_HOME") == str(home.root)
    assert found == needed
