"""A command about jobs that have ended imports no more than it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job import job_record
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file
from tests.support.jobs import a_job

PACKAGE = "pytest_valor_schedule"
RESULT = TestResult(nodeid="test_it.py::test_it", outcome=TestOutcome.PASSED)
ENDED = a_job(
    status=JobStatus.COMPLETED,
    outcome=Outcome.PASSED,
    completed_at=1_700_000_009.0,
    summary=Summary.of([RESULT], 9.0),
)
HEAVY = {
    *("dataclasses", "inspect", "typing", "logging", "filelock", "importlib.metadata"),
    *("shutil", "subprocess", "tempfile", "socket", "random", "traceback", "hashlib"),
    *("pytest", "xdist", "tomllib", "concurrent.futures", "multiprocessing"),
    *(f"{PACKAGE}.model.job", f"{PACKAGE}.queue.store", f"{PACKAGE}.process.processes"),
}
PROGRAM = """
import sys
from pytest_valor_schedule.cli import main
code = main.main(sys.argv[1:])
print("imported:", *sys.modules)
"""


def _run(words: Sequence[str]) -> tuple[str, set[str]]:
    """Return what a command printed in a process of its own, and what that had imported."""
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shown, _, names = done.stdout.partition("imported:")
    return shown + done.stderr, set(names.split())


@pytest.fixture
def ended(home: Home) -> str:
    with JobStore(home) as store:
        assert store.add(ENDED, [RESULT.nodeid], {})
    record = job_record(ENDED, [RESULT.nodeid])
    record_file.write(home.record(ENDED.job_id), record, [RESULT.to_json()])
    return ENDED.job_id


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--json"], ["status", "4f9a2c"], ["results", "4f9a2c"]]
)
def test_who_asks_how_jobs_ended_waits_for_no_import_that_it_can_do_without(
    ended: str, words: list[str]
) -> None:
    """What its row says of a job is shown without what makes, runs and records jobs."""
    shown, imported = _run(words)
    assert ended in shown
    assert f"{PACKAGE}.queue.job_index" in imported
    assert not HEAVY & imported


@pytest.mark.parametrize("words", [["wait", "4f9a2c"], ["cancel", "4f9a2c"]])
def test_who_waits_for_or_cancels_a_job_that_has_ended_starts_nothing(
    ended: str, words: list[str]
) -> None:
    """There is nothing to wait for and nothing to end, so nothing of that is imported."""
    shown, imported = _run(words)
    assert ended in shown
    # Their answers have types, which are imported with the functions for programs.
    assert not (HEAVY - {"typing"}) & imported
    assert f"{PACKAGE}.daemon.job_end" not in imported
