"""Inside a run that is no job: teaches the history how long tests take, if the project wants it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.queue import job_estimates
from pytest_valor_schedule.queue.history import History
from pytest_valor_schedule.queue.store import JobStore


class Learner:
    """Adds up the phases of each test; under xdist the controller hears of all."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()
        self._finished: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase; a crash has none."""
        if report.when in ("setup", "call", "teardown"):
            nodeid = report.nodeid
            self._seconds[nodeid] = self._seconds.get(nodeid, 0.0) + report.duration
            if report.failed:
                self._failed.add(nodeid)
            if report.when == "teardown":
                self._finished.add(nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Learn; a fault is said in one line and fails no run."""
        try:
            with closing(JobStore(Home.find(self._environment))) as store:
                project = project_of(str(session.config.rootpath))
                whole = {each: self._seconds[each] for each in self._finished}
                History(store.database).learn(project, whole, time.time(), self._failed)
                job_estimates.estimate_anew(store)
        except (ScheduleError, OSError) as error:
            print(f"The durations of this run were not learned: {error}", file=sys.stderr)
