"""Jobs with very many tests or very long texts: bounded memory, and a record that can be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results
from pytest_valor_schedule.config.home import Home
from tests.support.pages import ROOT

MOST_TO_LOOK = 60  # MB
COMPLETE = """
import os, re, sys
from pathlib import Path
from tests.support.jobs import a_job
from pytest_valor_schedule.daemon import job_end
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.record.event_log import EventLog
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue.store import JobStore

count, text = int(sys.argv[1]), "y" * int(sys.argv[2])
tests = [f"tests/test_module.py::test_it[{number}]" for number in range(count)]
with JobStore(Home.find(os.environ)) as store:
    job = a_job(test_count=count)
    store.add(job, tests, {})
    folder = store.home.job_folder(job.job_id)
    folder.mkdir()
    written = EventLog(event_log.path(folder, "1.1", "gw0"))
    for test in tests:
        written.write({"kind": "start", "id": test, "at": 1e9, "moment": 1.0})
        for phase in ("setup", "call", "teardown"):
            report = {"kind": "report", "id": test, "phase": phase, "outcome": "passed"}
            if text and phase == "call":
                report |= {"outcome": "failed", "message": text[:2000], "longrepr": text}
                report["sections"] = [["Captured stdout call", text]]
            written.write({**report, "duration": 0.001})
    written.close()
    job = store.change(job.job_id, JobStatus.SCHEDULED, status=JobStatus.RUNNING, started_at=1e9)
    job_end.complete(store, job, JobEnd(completed_at=2e9, exit_code=0))
status = Path("/proc/self/status").read_text()  # getrusage counts what it was forked from, too
print(job.job_id, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
"""

COMMAND = """
import re, sys
from pathlib import Path
from pytest_valor_schedule.cli.main import main

assert main() == 0
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("count", "length", "most"), [(50_000, 0, 85), (3_000, 20_000, 150)])
def test_memory_of_uniting_a_large_job_is_bounded(
    home: Home, count: int, length: int, most: int
) -> None:
    """50,000 tests, or 120 MB of failures, become a record within so many MB, and are looked at."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COMPLETE, str(count), str(length)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    job_id, megabytes = done.stdout.split()
    assert int(megabytes) < most
    assert length or _megabytes_of("results", job_id) < MOST_TO_LOOK
    assert json.loads(home.record(job_id).read_text())["summary"]["total"] == count
    results = get_job_results(job_id)["results"]
    assert len(results) == count
    assert {each["outcome"] for each in results} == {"failed" if length else "passed"}
    assert all(each["longrepr"] and each["message"] for each in results if length)


def _megabytes_of(*words: str) -> int:
    """Return the most memory that a command of ours has."""
    command = [sys.executable, "-c", COMMAND, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
