"""Implement the hooks that pytest calls in every process, by the role of the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

import pytest

from pytest_valor_schedule import env
from pytest_valor_schedule.plugin import options, process_role, take_over
from pytest_valor_schedule.plugin.process_role import (
    START,
    Collector,
    JobController,
    JobSession,
    JobWorker,
    NoJob,
    ProcessRole,
    ProcessStart,
    Submitter,
    role_of,
)

_START = "valor_schedule_start"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make known which hooks of ours there are."""
    from pytest_valor_schedule import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Read the environment, and add the options and their ini twins."""
    pluginmanager.register(ProcessStart(), _START)
    options.add_options(parser)


@pytest.fixture(scope="session")
def schedule_slot() -> int | None:
    """The number of this worker's slot, from 0, which no other worker on the machine has.

    It is there to choose a database, a port or a folder that nobody else uses at the same time.
    In a run that is not a scheduled one it is None.
    """
    slot = os.environ.get(env.SLOT_VARIABLE)
    return None if slot is None else int(slot)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Take the instructions of ours, before any other plugin or conftest.py does anything.

    Raises:
        SystemExit: with the code of a run that a session has taken over from this process.
    """
    start = early_config.pluginmanager.get_plugin(_START)
    assert isinstance(start, ProcessStart)
    early_config.stash[START] = start
    instructions = start.take_instructions()
    if instructions is not None and instructions.death_pipe is not None:
        from pytest_valor_schedule.process.death_pipe import die_with

        die_with(instructions.death_pipe)
    if start.session_threads is not None:  # as xdist's workers have it before any conftest.py
        os.environ.update(env.thread_variables(start.session_threads, os.environ))
    if env.JOB_ID_VARIABLE in os.environ and (instructions or "PYTEST_XDIST_WORKER" in os.environ):
        from pytest_valor_schedule.in_job import controller_recorder  # noqa: F401  # while all that it needs is whole
    if (code := take_over.take_over(early_config, start)) is not None:
        raise SystemExit(code)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Set what xdist and others read before the session begins."""
    role = role_of(config)
    if getattr(config.option, "looponfail", False) and isinstance(
        role, Collector | JobSession | Submitter
    ):
        # Here already, because xdist starts its loop from this hook.
        raise pytest.UsageError("--looponfail never ends; run it directly, not in the background.")
    with _prepared(config, role):
        return (yield)


@contextlib.contextmanager
def _prepared(config: pytest.Config, role: ProcessRole) -> Generator[None, None, None]:
    stack = contextlib.ExitStack()
    match role:
        case JobController(run_config):
            from pytest_valor_schedule.in_job import roles

            roles.prepare_controller(config, run_config)
        case JobWorker(run_config):
            from pytest_valor_schedule.in_job import roles

            roles.prepare_worker(config, run_config)
        case NoJob.DIRECT_RUN:
            from pytest_valor_schedule.plugin import direct_runs

            stack.enter_context(direct_runs.sharing(config, config.stash[START].environment))
        case Collector() | Submitter(problem=None):
            from pytest_valor_schedule.plugin import submit_role

            waits = isinstance(role, Submitter) and role.waits
            stack.enter_context(submit_role.leave_to_job(config, output=waits))
    with stack:
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin object that this process needs, if any."""
    plugin = _plugin_for(config)
    if plugin is not None:
        config.pluginmanager.register(plugin, "valor_schedule_session")


def _plugin_for(config: pytest.Config) -> object | None:
    match role_of(config):
        case JobController(run_config):
            from pytest_valor_schedule.in_job import roles

            server = process_role.fork_server_of(config)
            return roles.controller(config, run_config, server, config.stash[START].environment)
        case JobWorker(run_config):
            from pytest_valor_schedule.in_job import roles

            return roles.worker(config, run_config)
        case Collector(order):
            from pytest_valor_schedule.plugin import collect_role

            return collect_role.collector(config, order, config.stash[START].environment)
        case JobSession(collect_config, control):
            from pytest_valor_schedule.plugin import collect_role

            start = config.stash[START]
            return collect_role.session(config, collect_config, control, start.environment)
        case Submitter(waits, problem):
            from pytest_valor_schedule.plugin import submit_role

            if problem is not None:
                raise pytest.UsageError(problem)
            return submit_role.submitter(config, config.stash[START].environment, waits=waits)
    if not process_role.learns_durations(config):  # as almost always, and without an import
        return None
    from pytest_valor_schedule.plugin.direct_runs import Learner

    return Learner(config.stash[START].environment)
