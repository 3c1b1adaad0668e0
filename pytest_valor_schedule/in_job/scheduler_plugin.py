"""Give xdist in a job's controller our scheduler, with the durations of the tests."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.compat import xdist_workers
from pytest_valor_schedule.in_job import selected_tests
from pytest_valor_schedule.in_job.scheduler import Scheduler
from pytest_valor_schedule.model.run_config import RunConfig, collection_digest
from pytest_valor_schedule.model.work_units import PastRun, TestOrder

_SERVED = ("load", "worksteal", "loadscope", "loadfile", "loadgroup")
REFUSED = "valor_schedule_refused"
"""The attribute of a report that names a worker which collected something else than the others."""


class SchedulerPlugin:
    """Answers xdist's question for a scheduler, unless a conftest.py of the project does."""

    def __init__(self, run_config: RunConfig) -> None:
        self._run_config = run_config
        self._starting: list[Any] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Note which workers are started at the beginning, before there is a scheduler."""
        self._starting.append(node)

    # After a conftest.py, and before xdist's own, which is registered later and the last too.
    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> Scheduler | None:
        """Return our scheduler for the modes that it knows."""
        dist = config.getoption("dist")
        if dist not in _SERVED:
            return None
        run_config = self._run_config
        if run_config.starting_seconds is not None:
            xdist_workers.wake_scheduler(config, run_config.starting_seconds)
        return Scheduler(
            workers=run_config.workers,
            dist=str(dist),
            order=_order(run_config.order),
            durations=read_durations(run_config.durations),
            digest=_digest(run_config),
            starting=self._starting,
            refuse=functools.partial(_refuse, config),
            config=config,
        )


def _refuse(config: pytest.Config, node: Any, text: str) -> None:
    """Report a worker with another collection, as xdist does where it ends the run for it."""
    worker = str(node.gateway.id)
    report = pytest.CollectReport(
        f"another collection in worker {worker}", outcome="failed", longrepr=text, result=[]
    )
    setattr(report, REFUSED, worker)  # as xdist adds the worker to one
    config.hook.pytest_collectreport(report=report)


def _order(name: str) -> TestOrder:
    return TestOrder(name) if name in list(TestOrder) else TestOrder.LONGEST


def _digest(run_config: RunConfig) -> str:
    """Return the digest of the tests that this round is for."""
    if run_config.only is None:
        return run_config.digest
    return collection_digest(selected_tests.read(run_config.only))


def read_durations(path: str | None) -> dict[str, PastRun]:
    """Return node id to what the history has of it; nothing, and a warning, where that fails."""
    try:
        values = {} if path is None else json.loads(Path(path).read_text())
        return {nodeid: PastRun(float(each[0]), bool(each[1])) for nodeid, each in values.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        warning(f"The durations cannot be read, so the tests run as collected: {error!r}")
        return {}
