"""Scheduling from a real terminal command, and looking at what became of it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_valor_schedule import get_job_results, get_job_status, list_jobs, wait_for_job
from pytest_valor_schedule.cli import main
from pytest_valor_schedule.client import collect
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.env import COLLECT_VARIABLE
from pytest_valor_schedule.model.job import NEEDED_PLUGINS
from pytest_valor_schedule.model.run_config import CollectConfig
from pytest_valor_schedule.model.run_request import RunRequest
from tests.support import warm
from tests.support.waiting import DEADLINE_SECONDS

JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
QUICK = ("-p", "no:cacheprovider")


GATED = """
import pathlib, time
def test_gated():
    while not pathlib.Path("gate").exists():
        time.sleep(0.02)
"""
"""A module whose test runs until somebody opens the gate."""


def open_gate() -> None:
    """Let the test of GATED end, in a project that is the working directory."""
    Path("gate").touch()


def run_pytest(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run pytest as from a terminal and return what it printed."""
    return warm.run([*arguments], folder)


def collect_warm(
    request: RunRequest, target: Path, output: Path, seconds: float, options: dict[str, Any]
) -> int:
    """Collect as `client.collect` does by a pytest that it starts, for which this is put there."""
    interpreter, *words = request.launcher
    if interpreter != sys.executable or not Path(request.cwd).is_dir():
        return _COLLECT(request, target, output, seconds, options)
    config = CollectConfig(str(target), None, options).to_text()
    done = warm.run(
        [*NEEDED_PLUGINS, *request.arguments],
        Path(request.cwd),
        program=words[-1],  # of `-m pytest` or its script
        environment={**request.environment, COLLECT_VARIABLE: config},
    )
    output.write_text(done.stdout + done.stderr)
    return done.returncode


_COLLECT = collect._run


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `valor-schedule`; in this process, but for what is a pytest of its own."""
    if arguments[:1] == ("replay",):
        return warm.run(list(arguments), program="pytest_valor_schedule")
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def scheduled_id(done: subprocess.CompletedProcess[str]) -> str:
    """Return the job id that a `pytest --schedule` printed."""
    found = JOB_ID.search(done.stdout)
    assert found, done.stdout + done.stderr
    return found[0]


def schedule(*arguments: str, folder: Path | None = None) -> str:
    """Schedule a run by `pytest --schedule` and return the id of its job."""
    return scheduled_id(run_pytest("--schedule", *arguments, folder=folder))


def results_of(job_id: str) -> dict[str, Any]:
    """Wait for a job's end and return its results; its summary must add up."""
    status = wait_for_job(job_id, DEADLINE_SECONDS)
    assert status["status"] in ("completed", "cancelled"), status
    results = get_job_results(job_id)
    assert "error" not in results, results
    # The flaky ones are among the bad ones, and of skipped modules no test is known.
    others = ("duration_seconds", "flaky", "skipped_modules")
    summary: dict[str, Any] = {**results["summary"]}
    counts = {name: n for name, n in summary.items() if name not in others}
    assert counts.pop("total") == sum(counts.values()) == len(results["results"])
    return {**results}


def outcomes_of(job_id: str) -> dict[str, str]:
    """Wait for a job's end and return node id to outcome."""
    return {each["nodeid"]: each["outcome"] for each in results_of(job_id)["results"]}


def record_of(home: Home, job_id: str) -> dict[str, Any]:
    """Return the public record of a job."""
    record: dict[str, Any] = json.loads(home.record(job_id).read_text())
    return record


def is_running(job_id: str) -> bool:
    """Return whether a job has been started and has not ended."""
    return bool(get_job_status(job_id)["status"] == "running")


def nothing_scheduled() -> bool:
    """Return whether the queue has never had a job."""
    return bool(list_jobs()["total"] == 0)
