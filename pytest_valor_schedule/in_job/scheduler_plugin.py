"""Inside a job's controller: gives xdist our scheduler, and that what is known of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import xdist_workers
from pytest_valor_schedule.in_job.durations import known_of
from pytest_valor_schedule.in_job.scheduler import Scheduler
from pytest_valor_schedule.model.run_config import RunConfig, collection_digest
from pytest_valor_schedule.model.work_units import TestOrder

_SERVED = ("load", "worksteal", "loadscope", "loadfile", "loadgroup")
REFUSED = "valor_schedule_refused"
"""The attribute of a report that names a worker which collected something else than the others."""


class SchedulerPlugin:
    """Answers xdist's question for a scheduler, unless a conftest.py of the project does."""

    def __init__(self, told: RunConfig) -> None:
        self._told = told
        self._starting: list[Any] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Before there is a scheduler: note who is started at the beginning."""
        self._starting.append(node)

    # After a conftest.py, and before xdist's own, which is registered later and the last too.
    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> Scheduler | None:
        """Return our scheduler for the modes that it knows."""
        dist = config.getoption("dist")
        if dist not in _SERVED:
            return None
        told = self._told
        if told.starting_seconds is not None:
            xdist_workers.wake_scheduler(config, told.starting_seconds)

        def refuse(node: Any, text: str) -> None:
            """Report it as xdist does where it ends the whole run for it."""
            worker = str(node.gateway.id)
            report = pytest.CollectReport(
                f"another collection in worker {worker}",
                outcome="failed",
                longrepr=text,
                result=[],
            )
            setattr(report, REFUSED, worker)  # as xdist adds the worker to one
            config.hook.pytest_collectreport(report=report)

        return Scheduler(
            workers=told.workers,
            dist=str(dist),
            order=TestOrder(told.order) if told.order in list(TestOrder) else TestOrder.LONGEST,
            known=known_of(told.known),
            digest=_digest(told),
            starting=self._starting,
            refuse=refuse,
            config=config,
        )


def _digest(told: RunConfig) -> str:
    """Return the digest of the tests that this round is for."""
    if told.only is None:
        return told.digest
    return collection_digest(set(json.loads(Path(told.only).read_text())))
