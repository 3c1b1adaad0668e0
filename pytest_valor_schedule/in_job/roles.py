"""Prepare the pytest of a job and register its plugins: in its controller, in its workers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.model.run_config import RunConfig

if TYPE_CHECKING:
    from pytest_valor_schedule.in_job.controller_recorder import ControllerRecorder


def prepare_controller(config: pytest.Config, run_config: RunConfig) -> None:
    """Set what xdist and others read before the session of a controller begins."""
    if run_config.is_further:
        config.option.xmlpath = None  # the record is written there at the end
    _prepare(config, run_config)
    config.option.numprocesses = run_config.workers
    config.option.maxprocesses = None


def prepare_worker(config: pytest.Config, run_config: RunConfig) -> None:
    """Set what others read before the session of a worker begins."""
    if run_config.only is not None:  # the cache, which may be another now, selects no tests
        config.option.lf = config.option.failedfirst = False
    _prepare(config, run_config)


def _prepare(config: pytest.Config, run_config: RunConfig) -> None:
    if run_config.is_further:
        other_plugins.leave_streams(config)
    if run_config.is_repetition:  # all failures are to be repeated, so none may stop the run
        option = config.option
        option.maxfail = 0
        # The second and the third would switch the first on.
        option.stepwise = option.stepwise_skip = option.stepwise_reset = False


def controller(
    config: pytest.Config, run_config: RunConfig, server: str | None, environment: Mapping[str, str]
) -> ControllerRecorder:
    """Register what a job's controller needs, and return the plugin object for its session.

    Args:
        config: The controller's.
        run_config: From its runner.
        server: What forks workers, see `ForkedWorkers`; None to start them.
        environment: The one that this pytest was started with.
    """
    from pytest_valor_schedule.in_job.collect_reports import CollectReports
    from pytest_valor_schedule.in_job.controller_recorder import ControllerRecorder
    from pytest_valor_schedule.in_job.scheduler_plugin import SchedulerPlugin
    from pytest_valor_schedule.in_job.worker_env import WorkerEnv
    from pytest_valor_schedule.in_job.worker_watchdog import WorkerWatchdog

    register = config.pluginmanager.register
    register(WorkerWatchdog(), "valor_schedule_watchdog")
    register(WorkerEnv(run_config.slots, run_config.threads), "valor_schedule_worker_env")
    register(SchedulerPlugin(run_config), "valor_schedule_scheduler")
    if not run_config.shows_workers:
        from pytest_valor_schedule.in_job.plain_terminal import PlainTerminal

        register(PlainTerminal(config, run_config), "valor_schedule_terminal")
    register(CollectReports(), "valor_schedule_collect_reports")
    if run_config.is_repetition:
        # What is only run again is not to tell --lf that it passed.
        other_plugins.unregister_cache(config)
    if server is not None:
        from pytest_valor_schedule.in_job.forked_workers import ForkedWorkers

        with contextlib.suppress(OSError, ValueError):  # it is not there any more, as after an exec
            register(ForkedWorkers(server, environment), "valor_schedule_forks")
    return ControllerRecorder(config, run_config)


def worker(config: pytest.Config, run_config: RunConfig) -> object:
    """Register what a job's worker needs, and return the plugin object for its session."""
    from pytest_valor_schedule.in_job.worker_recorder import WorkerRecorder

    if run_config.only is not None:
        from pytest_valor_schedule.in_job.selected_tests import Selection

        config.pluginmanager.register(Selection(run_config.only), "valor_schedule_selection")
    return WorkerRecorder(config, run_config, config.workerinput["workerid"])  # type: ignore[attr-defined]
