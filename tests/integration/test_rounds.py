"""Which jobs get a second round, and what is said of the tests that it could not help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import results_of, schedule

IN_A_JOB = """
import os, pytest
WORKER = "VALOR_SCHEDULE_SLOT" in os.environ
CONTROLLER = "VALOR_SCHEDULE_JOB_ID" in os.environ and not WORKER
"""
TWO = "def test_a(): pass\ndef test_b(): assert 0\n"


def _ended(home: Home, *arguments: str) -> dict[str, Any]:
    """Return the results of a job on two workers that had one round."""
    job_id = schedule("--max-workers", "2", *arguments)
    results = results_of(job_id)
    assert not list(home.job_folder(job_id).glob("1.2*"))
    return results


def _messages(results: dict[str, Any]) -> dict[str, str]:
    """Return node id to message of what was not run."""
    lost = (each for each in results["results"] if each["outcome"] == "not_run")
    return {each["nodeid"]: each.get("message", "") for each in lost}


@pytest.mark.home_in_use
@pytest.mark.parametrize(
    ("conftest", "explanation"),
    [
        (
            "def pytest_configure():\n"
            "    if CONTROLLER: raise pytest.UsageError('No --once with workers.', 'Pick one.')",
            "pytest ended with exit code 4 (ERROR: No --once with workers)",
        ),
        ("assert not CONTROLLER, 'not here'", "exit code 4 (AssertionError: not here)"),
        (
            "def pytest_configure():\n    if CONTROLLER: raise ValueError('not here')",
            "exit code 3 (ValueError: not here)",
        ),
        (
            "def pytest_sessionstart():\n    if WORKER: raise ValueError('not here')",
            "pytest had an internal error (ValueError: not here)",
        ),
    ],
    ids=["usage", "import", "configure", "worker"],
)
def test_what_pytest_refuses_is_refused_once(
    project: Path, home: Home, conftest: str, explanation: str
) -> None:
    """A run that cannot begin is not tried again, and pytest's own reason is quoted."""
    project.joinpath("conftest.py").write_text(IN_A_JOB + conftest)
    project.joinpath("test_it.py").write_text(TWO)
    results = _ended(home)
    assert results["outcome"] == "error"
    assert explanation in results["explanation"]
    assert results["explanation"].startswith("No test ran: ")
    assert results["summary"]["not_run"] == 2


@pytest.mark.home_in_use
def test_files_that_only_workers_cannot_import_are_named(project: Path, home: Home) -> None:
    """The tests of two such files say so, those of a third run, and the error is quoted."""
    for name in ("one", "two"):
        text = f"{IN_A_JOB}\nif WORKER: raise ImportError('no {name}')\n{TWO}"
        project.joinpath(f"test_{name}.py").write_text(text)
    project.joinpath("test_three.py").write_text(TWO)
    results = _ended(home)
    assert results["explanation"] == (
        "4 of 6 tests have no result: "
        "test_one.py and 1 more could not be collected (ImportError: no one)."
    )
    assert (results["summary"]["passed"], results["summary"]["failed"]) == (1, 1)
    assert _messages(results) == {
        f"test_{name}.py::test_{letter}": f"test_{name}.py could not be collected"
        for name in ("one", "two")
        for letter in "ab"
    }


@pytest.mark.home_in_use
def test_ids_that_no_other_collection_has_are_told(project: Path, home: Home) -> None:
    """With a time in an id each process has another test; what one worker has is run, once."""
    project.joinpath("test_it.py").write_text(
        "import pytest, time\n"
        "@pytest.mark.parametrize('now', [time.time_ns()])\n"
        f"def test_now(now): pass\n{TWO}"
    )
    results = _ended(home)
    assert {name: results["summary"][name] for name in ("passed", "failed", "not_run")} == {
        "passed": 2,
        "failed": 1,
        "not_run": 2,
    }
    assert "2 of 5 tests have no result: another collection in worker " in results["explanation"]
    first, second = _messages(results).values()
    assert first == "was not there any more when the job collected its tests"
    assert second.startswith("was collected by gw")


@pytest.mark.home_in_use
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ids_that_are_gone_do_not_hold_up_those_that_were_cut_off(
    project: Path, home: Home, workers: str
) -> None:
    """After the controller was killed, what is there is run once more, and the rest is told."""
    project.joinpath("test_it.py").write_text(
        "import os, pathlib, pytest, time\n"
        "@pytest.mark.parametrize('now', [os.environ.get('VALOR_SCHEDULE_JOB_ID', 'none')])\n"
        "def test_now(now): pass\n"
        "def test_kill():\n"
        "    if not pathlib.Path('killed').exists():\n"
        "        pathlib.Path('killed').touch()\n"
        "        os.kill(os.getsid(0), 9)\n"
        f"        time.sleep(600)\n{TWO}"
    )
    results = results_of(schedule("--max-workers", workers))
    assert _messages(results) == {
        "test_it.py::test_now[none]": "was not there any more when the job collected its tests"
    }
    assert (results["summary"]["passed"], results["summary"]["failed"]) == (3, 1)
