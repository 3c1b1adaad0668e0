"""Show a job of the past as pytest would have shown it."""

from __future__ import annotations

import os
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.client.endpoint import open_queue, require_ended
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.record.replay import Replay
from pytest_valor_schedule.text import render


def replay(job_id: str, options: Sequence[str]) -> int:
    """Run a pytest that collects and runs nothing, and shows the reports of a job.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        options: pytest's options, such as `-v` or `--junit-xml=FILE`.

    Returns:
        pytest's exit code for the run, 124 if its time limit ended it, 130 if it was cancelled.

    Raises:
        ScheduleError: if there is no such job, or it has not ended.
    """
    with open_queue() as store:
        job = require_ended(store.find(job_id))
        record, home = job_records.record_of(store, job), store.home
    # Nothing of the project or of this folder is to be read: they may have changed.
    plain = ["-p", "no:cacheprovider", "-p", "no:valor_schedule", "--noconftest", "-c", os.devnull]
    plain += ["--assert=plain", "--no-header"]  # no test is imported, and no ini file read
    rootdir = job.rootdir if Path(job.rootdir).is_dir() else str(home.root)
    arguments = [*plain, f"--rootdir={rootdir}", *options]
    return int(pytest.main(arguments, plugins=[_Replayed(home, record)]))


class _Replayed:
    """Put a job in the place of what this pytest would collect and run."""

    def __init__(self, home: Home, record: Mapping[str, Any]) -> None:
        self._home = home
        self._record = record

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        for name, value in (("numprocesses", None), ("dist", "no"), ("tx", [])):
            setattr(config.option, name, value)  # for xdist, should PYTEST_ADDOPTS call it

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        session.testscollected = len(self._record["results"])
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.showfspath = False
            _set_duration(reporter, self._record["summary"]["duration_seconds"])
        folder = self._home.job_folder(str(self._record["job_id"]))
        Replay(session, folder).show(self._record)
        return True

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("valor-schedule")
        for line in render.status_lines(self._record):
            terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        session.exitstatus = render.exit_code(self._record)


def _set_duration(reporter: Any, seconds: float) -> None:
    """Have pytest's last line tell how long the job took; a private part of the terminal reporter.

    Checked with pytest 8.3 to 9.2; elsewhere the line tells how long the replay took.
    """
    if hasattr(reporter, "_session_start"):  # since pytest 8.4
        elapsed = types.SimpleNamespace(seconds=seconds)
        reporter._session_start = types.SimpleNamespace(elapsed=lambda: elapsed)
    elif hasattr(reporter, "_sessionstarttime"):
        reporter._sessionstarttime = time.time() - seconds
