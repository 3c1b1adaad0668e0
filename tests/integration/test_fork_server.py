"""Workers that are forked are like those that were started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_valor_schedule.config.home import Home
from tests.support.interpreter import IS_FORKED
from tests.support.scheduled import results_of, run_pytest, scheduled_id

pytestmark = pytest.mark.home_in_use

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks them")


@linux_only
def test_variables_for_the_start_of_an_interpreter_are_heeded(project: Path) -> None:
    """A conftest.py that sets one gets workers that were started with it."""
    Path("conftest.py").write_text(
        "import os\ndef pytest_configure(): os.environ.setdefault('PYTHONWARNINGS', 'error')\n"
    )
    Path("test_it.py").write_text(
        "import sys\ndef test_it(): assert sys.warnoptions == ['error']\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


def test_a_worker_that_does_not_end_is_ended(project: Path) -> None:
    """A thread that a test leaves behind holds up its worker, but not the run."""
    Path("test_it.py").write_text(
        "import threading, time\n"
        "def test_it(): threading.Thread(target=time.sleep, args=(900,)).start()\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@linux_only
@pytest.mark.parametrize("where", ["environment", "ini", "machine"])
def test_forks_can_be_switched_off(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Then xdist starts the workers; the nearest of all that is said about it counts."""
    home.make()
    home.config.write_text(f"fork_workers = {'false' if where == 'machine' else 'true'}\n")
    if where != "machine":
        said = "true" if where == "environment" else "false"
        Path("pytest.ini").write_text(f"[pytest]\nvalor_schedule_fork_workers = {said}\n")
    if where == "environment":
        monkeypatch.setenv("VALOR_SCHEDULE_FORK_WORKERS", "0")
    Path("test_it.py").write_text(f"{IS_FORKED}\ndef test_it():\n    assert not is_forked()\n")
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@linux_only
def test_what_a_controller_hands_down_is_heeded(project: Path) -> None:
    """Workers ignore the signals, and the like, that a conftest.py has the controller ignore."""
    Path("conftest.py").write_text(
        "import os, signal\n"
        "def pytest_configure(config):\n"
        "    in_job = 'VALOR_SCHEDULE_JOB_ID' in os.environ\n"
        "    if in_job and not hasattr(config, 'workerinput'):\n"
        "        signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
    )
    Path("test_it.py").write_text(
        "import signal\ndef test_it(): assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"
