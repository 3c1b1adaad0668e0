"""What `--schedule-wait` and `replay` show is what a direct run shows."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import cancel_job, get_job_status, list_jobs
from tests.support.scheduled import GATED, QUICK, run_pytest
from tests.support.waiting import DEADLINE_SECONDS, wait_until
from tests.tools.replay_parity import SUITE, cases, end_of

pytestmark = pytest.mark.home_in_use


def _write_suite() -> None:
    for name, text in SUITE.items():
        Path(name).write_text(text)


@pytest.mark.parametrize("options", [(), ("-q",), ("-rA", "--tb=short"), ("-v", "--tb=line")])
def test_the_end_of_a_run_is_that_of_a_direct_one(project: Path, options: tuple[str, ...]) -> None:
    """No section, last line, exit code or case of a report file tells where the tests ran."""
    _write_suite()
    report = Path("report.xml")
    direct = run_pytest(*options, f"--junit-xml={report}")
    expected = cases(report)
    report.unlink()
    waited = run_pytest(*options, f"--junit-xml={report}", "--schedule-wait", "--max-workers=2")
    assert waited.returncode == direct.returncode == 1
    # Under -v pytest says something that it does not where it has workers.
    assert end_of(waited.stdout) == end_of(direct.stdout)
    assert cases(report) == expected


def test_what_could_not_be_collected_counts_once(project: Path) -> None:
    """The waiting pytest has shown it already, when the job comes to the same."""
    Path("test_bad.py").write_text("import nothing_of_the_kind\n")
    Path("test_good.py").write_text("def test_it(): pass\n")
    done = run_pytest("--schedule-wait", "--continue-on-collection-errors")
    assert done.returncode == 1
    assert "1 passed, 1 error in" in done.stdout


def test_a_failed_subtest_fails_its_test(project: Path) -> None:
    """As pytest itself shows it, where it has subtests."""
    Path("test_it.py").write_text(
        "def test_it(subtests):\n    with subtests.test('part', i=1):\n        assert 0\n"
    )
    direct, waited = run_pytest("--tb=no"), run_pytest("--tb=no", "--schedule-wait")
    if "fixture 'subtests' not found" in direct.stdout:
        pytest.skip("this pytest has no subtests")
    assert end_of(waited.stdout) == end_of(direct.stdout)


def test_an_exit_code_without_a_failure_is_explained(project: Path) -> None:
    """A run that a plugin makes fail says where to look."""
    Path("test_it.py").write_text("def test_it(): pass\n")
    Path("conftest.py").write_text(
        "def pytest_sessionfinish(session):\n"
        "    if hasattr(session.config, 'workerinput') or session.config.option.numprocesses:\n"
        "        session.exitstatus = 9\n"
    )
    done = run_pytest("--schedule-wait")
    assert done.returncode == 9
    assert "No test failed, but pytest ended with exit code 9; the log tells why." in done.stdout
    assert re.search(r"^log: .* logs [0-9a-f]{6}$", done.stdout, re.MULTILINE)


def test_what_is_not_plain_is_shown(project: Path) -> None:
    """A test that killed its worker, tries of pytest-rerunfailures, and what no JSON can hold.

    A property is lost then, but neither the test's result nor its reports.
    """
    Path("test_it.py").write_text(
        "import os, pytest\n"
        "def test_crash(): os._exit(3)\n"
        "@pytest.mark.flaky(reruns=2)\ndef test_tries(): assert 0\n"
        "def test_it(record_property): record_property('m', {(0, 1): 'x'})\n"
        "def test_loop(record_property):\n    loop = []\n    loop.append(loop)\n"
        "    record_property('m', loop)\n    assert 0\n"
    )
    done = run_pytest("--schedule-wait")
    assert done.returncode == 1
    assert "killed its worker" in done.stdout
    assert "3 failed, 1 passed, 2 rerun in" in done.stdout


def test_enough_is_enough(project: Path) -> None:
    """-x stops the job, and what waits for it, at the first failure."""
    Path("test_it.py").write_text("def test_a(): assert 0\ndef test_b(): assert 0\n")
    done = run_pytest("--schedule-wait", "-x", "--max-workers=1")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "stopping after 1 failures" in done.stdout


def test_what_the_tests_do_not_tell_is_said(project: Path) -> None:
    """A run that its time limit ended says so, and has timeout(1)'s exit code."""
    Path("test_it.py").write_text(GATED)
    done = run_pytest("--schedule-wait", "--timeout-minutes=0.02")
    assert done.returncode == 124
    assert "The time limit of 0.02 minutes ended the run." in done.stdout


@pytest.fixture
def terminal() -> subprocess.Popen[bytes]:
    """A pytest that waits for a job with a closed gate, in a terminal of its own."""
    Path("test_it.py").write_text(GATED)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", *QUICK, "--schedule-wait"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    process.stdout = os.fdopen(ours, "rb")
    wait_until(lambda: list_jobs("running")["total"] == 1, "the job runs")
    return process


def _printed(process: subprocess.Popen[bytes]) -> str:
    """Return what a terminal shows until its process has ended."""
    pieces = []
    assert process.stdout is not None
    try:
        while piece := os.read(process.stdout.fileno(), 4096):
            pieces.append(piece)
    except OSError:  # a terminal that nobody has open any more
        pass
    process.stdout.close()
    return b"".join(pieces).decode()


def test_an_interrupt_only_ends_the_waiting(
    project: Path, terminal: subprocess.Popen[bytes]
) -> None:
    """After Ctrl-C the job goes on, and its id and how to cancel it are printed."""
    terminal.send_signal(signal.SIGINT)
    shown = _printed(terminal)
    assert terminal.wait(DEADLINE_SECONDS) == 2
    [job] = list_jobs("running")["jobs"]
    assert f"cancel {job['job_id'][-6:]}" in shown
    assert get_job_status(job["job_id"])["status"] == "running"
    assert shown.count("goes on") == 1
    assert "!!!" not in shown


def test_a_second_interrupt_cancels(project: Path, terminal: subprocess.Popen[bytes]) -> None:
    """Ctrl-C twice within two seconds ends the job too."""
    assert terminal.stdout is not None
    terminal.send_signal(signal.SIGINT)
    shown = b""
    while b"cancels it" not in shown:
        shown += os.read(terminal.stdout.fileno(), 4096)
    terminal.send_signal(signal.SIGINT)
    rest = _printed(terminal)
    assert "is cancelled." in rest
    assert "!!!" not in rest
    assert terminal.wait(DEADLINE_SECONDS) == 130
    assert list_jobs()["jobs"][0]["status"] == "cancelled"


def test_a_second_interrupt_after_the_end_cancels_nothing(
    project: Path, terminal: subprocess.Popen[bytes]
) -> None:
    """The exit code of a job that was cancelled is not that of one which ended before."""
    assert terminal.stdout is not None
    terminal.send_signal(signal.SIGINT)
    shown = b""
    while b"cancels it" not in shown:
        shown += os.read(terminal.stdout.fileno(), 4096)
    terminal.send_signal(signal.SIGSTOP)  # so that its two seconds do not pass meanwhile
    cancel_job(list_jobs()["jobs"][0]["job_id"])
    terminal.send_signal(signal.SIGINT)
    terminal.send_signal(signal.SIGCONT)
    assert "has ended already" in _printed(terminal)
    assert terminal.wait(DEADLINE_SECONDS) == 2
