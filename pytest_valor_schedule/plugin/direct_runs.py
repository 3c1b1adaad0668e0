"""Let a pytest that is started by hand share the worker slots, and teach how long tests take."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.config.settings import DirectRuns, direct_runs
from pytest_valor_schedule.env import DIRECT_VARIABLE, SLOT_VARIABLE
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.in_job.worker_env import WorkerEnv
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Holder, SlotLease

_POLL_SECONDS = 0.05
_NOT_FOR_SLOTS = (
    *("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow"),
    *("collectonly", "setuponly", "setupplan"),  # like those before, they run no test
    *("usepdb", "trace", "looponfail"),  # somebody sits at the terminal
)


def mode_or_ignore(config: pytest.Config, environment: Mapping[str, str]) -> DirectRuns:
    """Return the mode for a run; a wrong setting of the machine is warned of, and no more."""
    if any(getattr(config.option, name, False) for name in _NOT_FOR_SLOTS):
        return DirectRuns.IGNORE
    try:
        return direct_runs(Home.find(environment), environment)
    except ScheduleError as error:
        _warn(error)
        return DirectRuns.IGNORE


def _warn(error: Exception) -> None:
    """Say it in a way that no filter of warnings can turn into a failure of the run."""
    text = f"This run does not share the worker slots of the machine: {error}"
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def sharing(config: pytest.Config, environment: Mapping[str, str]) -> Iterator[None]:
    """Hold slots for the workers of a run, or for the run itself, until it has ended.

    Args:
        config: pytest's, before xdist has read how many workers are wanted.
        environment: The one that this pytest was started with.
    """
    try:
        own_slots = _take(config, Home.find(environment), environment)
    except (ScheduleError, OSError) as error:
        _warn(error)
        own_slots = SlotLease((), ())
    worker_env = WorkerEnv(own_slots.numbers, threads=None)
    config.pluginmanager.register(worker_env, "valor_schedule_worker_env")
    # All that this run starts learns that it has its slots, and its own tests which.
    variables = {DIRECT_VARIABLE: str(os.getpid())}
    if own_slots.numbers and not _workers(config):
        variables[SLOT_VARIABLE] = str(own_slots.numbers[0])
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        own_slots.release()


def _workers(config: pytest.Config) -> int:
    """Return how many xdist workers a run starts, if the number was given."""
    number = getattr(config.option, "numprocesses", None)
    return int(number or len(getattr(config.option, "tx", None) or ()))


def _take(config: pytest.Config, home: Home, environment: Mapping[str, str]) -> SlotLease:
    home.make()
    total = slots.total(home, environment)
    holder = Holder(
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        folder=str(config.invocation_params.dir),
        pid=os.getpid(),
        since=time.time(),
    )
    if getattr(config.option, "numprocesses", None) in ("auto", "logical"):
        own_slots = _wait_for_one(home, min(total, _own_limit(config)), total, holder)
        config.option.numprocesses = len(own_slots.numbers)
        return own_slots
    return slots.take(home, max(1, _workers(config)), total, holder, least=0) or SlotLease((), ())


def _own_limit(config: pytest.Config) -> int:
    """Return how many workers `auto` would mean without us."""
    number = config.hook.pytest_xdist_auto_num_workers(config=config)
    most = getattr(config.option, "maxprocesses", None)
    return max(1, min(int(number or 1), most or sys.maxsize))


def _wait_for_one(home: Home, limit: int, total: int, holder: Holder) -> SlotLease:
    """Take what is free as soon as that is anything at all."""
    own_slots = slots.take(home, limit, total, holder, least=1)
    if own_slots is None:
        print(
            f"All {total} worker slots of this machine are taken (`valor-schedule slots` shows "
            "by whom); this run begins when one is free.",
            file=sys.stderr,
            flush=True,
        )
    while own_slots is None:
        time.sleep(_POLL_SECONDS)
        own_slots = slots.take(home, limit, total, holder, least=1)
    return own_slots


class Learner:
    """Teach the history how long tests take, and which fail; under xdist from its controller."""

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
        from pytest_valor_schedule.queue import (
            job_estimates,  # here, because slots need no database
        )
        from pytest_valor_schedule.queue.history import History
        from pytest_valor_schedule.queue.store import JobStore

        try:
            with contextlib.closing(JobStore(Home.find(self._environment))) as store:
                project = project_of(str(session.config.rootpath))
                seconds = {each: self._seconds[each] for each in self._finished}
                History(store.database).learn(project, seconds, time.time(), self._failed)
                job_estimates.estimate_anew(store)
        except (ScheduleError, OSError) as error:
            print(f"The durations of this run were not learned: {error}", file=sys.stderr)
