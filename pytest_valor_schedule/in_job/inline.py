"""Have a session run its tests itself, without xdist, and record them as a worker does."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from pytest_valor_schedule import env
from pytest_valor_schedule.in_job import collection_source, selected_tests
from pytest_valor_schedule.in_job.controller_recorder import ControllerRecorder
from pytest_valor_schedule.in_job.scheduler_plugin import read_durations
from pytest_valor_schedule.in_job.worker_recorder import WorkerRecorder
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.model.work_units import TestOrder
from pytest_valor_schedule.record.aggregator import INLINE_WORKER

_WORKER_FIXTURES = {"worker_id", "testrun_uid"}


def obstacle(session: pytest.Session) -> str | None:
    """Return why the tests are not to run in the session itself; None if they can."""
    for item in session.items:
        if _WORKER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            return f"{item.nodeid} asks for the id of its worker."
    question = collection_source.question_for_id(collection_source.project_files())
    return question and f"The collection may ask in which worker it runs: {question}."


def record(
    session: pytest.Session, run_config: RunConfig, reports: Sequence[pytest.CollectReport]
) -> ControllerRecorder:
    """Prepare a session that has collected to run its tests, and to record them.

    Args:
        session: The session.
        run_config: From its runner.
        reports: What was skipped, or could not be collected.

    Returns:
        What records the session itself.
    """
    config = session.config
    if run_config.slots:
        os.environ[env.SLOT_VARIABLE] = str(run_config.slots[0])
    _select(session, run_config)
    controller = ControllerRecorder(config, run_config)
    worker = WorkerRecorder(config, run_config, INLINE_WORKER)
    controller.note_collection(INLINE_WORKER, [item.nodeid for item in session.items])
    for report in reports:
        controller.pytest_collectreport(report)
    worker.pytest_collection_finish(session)
    worker.enable_stacks()
    config.pluginmanager.register(controller, "valor_schedule_controller")
    config.pluginmanager.register(worker, "valor_schedule_worker")
    return controller


def _select(session: pytest.Session, run_config: RunConfig) -> None:
    """Leave the tests that are to run, in the order that the project wants."""
    if run_config.only is not None:
        only = selected_tests.read(run_config.only)
        session.items[:] = [item for item in session.items if item.nodeid in only]
    if run_config.order == TestOrder.FAILED_FIRST:
        past = read_durations(run_config.durations)
        failures = {nodeid for nodeid, run in past.items() if run.failed}
        session.items.sort(key=lambda item: item.nodeid not in failures)
