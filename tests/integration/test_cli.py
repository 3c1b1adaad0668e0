"""The command line `valor-schedule`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import wait_for_job
from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import is_running, run_pytest, run_tool, scheduled_id
from tests.support.waiting import wait_until

MIXED = "def test_good(): pass\ndef test_bad(): assert 1 == 2"
SLOW = "import time\ndef test_slow(): time.sleep(60)"


@pytest.mark.home_in_use
def test_a_job_from_start_to_results(project: Path) -> None:
    """All commands tell of the same job, by default the newest of this folder."""
    Path("test_a.py").write_text(MIXED)
    job_id = scheduled_id(run_pytest("--schedule"))
    waited = run_tool("wait")
    assert waited.returncode == 1
    line = f"{job_id} failed: 1 failed, 1 passed in "
    assert waited.stdout.startswith(line)
    assert run_tool("status", job_id).stdout.startswith(line)
    shown = run_tool("results", job_id[-6:])
    assert shown.returncode == 0
    assert "FAILED test_a.py::test_bad  test_a.py:2  assert 1 == 2" in shown.stdout
    assert "1 failed, 1 passed" in run_tool("logs").stdout
    assert job_id in run_tool("list").stdout


def test_json_is_what_the_api_returns(ended: str) -> None:
    """--json prints one document, also for an error."""
    assert json.loads(run_tool("wait", ended, "--json").stdout)["status"] == "completed"
    results = json.loads(run_tool("results", ended, "--json").stdout)
    assert [each["outcome"] for each in results["results"]] == ["passed", "failed", "passed"]
    assert json.loads(run_tool("list", "--json").stdout)["jobs"][0]["job_id"] == ended
    assert json.loads(run_tool("status", ended, "--json").stdout)["summary"] == results["summary"]
    assert "1 failed" in json.loads(run_tool("logs", ended, "--json").stdout)["output"]
    failed = run_tool("cancel", ended, "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["status"] == "completed"


@pytest.mark.home_in_use
def test_cancelled_job_makes_wait_return_130(project: Path) -> None:
    """A cancel ends a running job, and whoever waits for it gets 130."""
    Path("test_a.py").write_text(SLOW)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(job_id), "the job runs")
    cancelled = run_tool("cancel", job_id)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"{job_id} cancelled\n")
    assert run_tool("wait", job_id).returncode == 130


@pytest.mark.home_in_use
def test_timed_out_job_makes_wait_return_124(project: Path) -> None:
    """Whoever waits for a job that its time limit ended gets 124."""
    Path("test_a.py").write_text(SLOW)
    run_pytest("--schedule", "--timeout-minutes", "0.01")
    assert run_tool("wait").returncode == 124


@pytest.mark.usefixtures("no_dispatcher")
def test_wait_in_turns(project: Path) -> None:
    """With --timeout, wait returns 75 while the job goes on."""
    Path("test_a.py").write_text(SLOW)
    run_pytest("--schedule")
    waited = run_tool("wait", "--timeout", "0.1")
    assert waited.returncode == 75
    assert "1 test" in waited.stdout


def test_closed_pipe_is_no_crash(ended: str, home: Home) -> None:
    """Output that nobody reads any more ends the command without a traceback."""
    home.output(ended).write_text("x" * 10**6)
    command = f"{sys.executable} -m pytest_valor_schedule logs --json {ended} | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.home_in_use
def test_control_characters_do_not_reach_the_terminal(project: Path) -> None:
    """What a test says is shown with its escape codes escaped."""
    Path("test_a.py").write_text("def test_one(): raise RuntimeError('\\x1b[31mred\\x07')")
    wait_for_job(scheduled_id(run_pytest("--schedule")))
    shown = run_tool("results").stdout
    assert "\\x1b[31mred\\x07" in shown
    assert "\x1b" not in shown
