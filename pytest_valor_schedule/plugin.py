"""The entry point of pytest: options, and which plugin object this process needs, if any."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from pytest_valor_schedule import handshake

_HANDSHAKE = pytest.StashKey[handshake.Handshake | None]()

_INI = {
    "schedule": "hand every run of this project over to the background queue: true or false",
    "schedule_wait": "wait for the end of a scheduled run: true or false",
    "priority": "default of --priority",
    "max_workers": "default of --max-workers",
    "timeout_minutes": "default of --timeout-minutes",
    "notify": "default of --notify",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    group = parser.getgroup("valor-schedule", "one test queue for the machine")
    group.addoption(
        "--schedule",
        action="store_true",
        default=None,
        help="Collect the tests, hand the run over to the background queue, and return at once",
    )
    group.addoption(
        "--schedule-wait",
        action="store_true",
        default=None,
        help="With --schedule: wait for the end of the run and return its exit code",
    )
    group.addoption(
        "--priority",
        metavar="{low,normal,high}",
        help="How urgent the scheduled run is. Default: normal.",
    )
    group.addoption(
        "--max-workers",
        metavar="N",
        help="The most pytest-xdist workers that the scheduled run may have. Default: 2.",
    )
    group.addoption(
        "--timeout-minutes",
        metavar="N",
        help="Minutes after its start at which the scheduled run is ended. Default: 10.",
    )
    group.addoption("--notify", metavar="CHAT", help="Chat id to tell about the end of the run")
    for name, text in _INI.items():
        parser.addini(f"valor_schedule_{name}", f"valor-schedule: {text}", default=None)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """In a job, set the number of workers before xdist reads it."""
    if not _is_worker(config):
        told = handshake.take(os.environ)
        config.stash[_HANDSHAKE] = told
        if told is not None:
            config.option.numprocesses = told.workers
            config.option.maxprocesses = None
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the one plugin object that this process needs."""
    plugin = _plugin_for(config)
    if plugin is not None:
        config.pluginmanager.register(plugin, "valor_schedule_session")


def _plugin_for(config: pytest.Config) -> object | None:
    if _is_worker(config):
        workerinput: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
        if "valor_schedule" not in workerinput:
            return None
        from pytest_valor_schedule.recorder import WorkerRecorder

        told = handshake.Handshake(**workerinput["valor_schedule"])
        return WorkerRecorder(told, workerinput["workerid"])
    if (controller := config.stash.get(_HANDSHAKE, None)) is not None:
        from pytest_valor_schedule.recorder import ControllerRecorder

        return ControllerRecorder(controller)
    return _submitting_plugin(config)


def _submitting_plugin(config: pytest.Config) -> object | None:
    target = os.environ.get(handshake.COLLECT_VARIABLE)
    if not target and not _may_schedule(config):
        return None
    from pytest_valor_schedule import session

    return session.collecting(config, target) if target else session.scheduling(config)


def _may_schedule(config: pytest.Config) -> bool:
    """Whether anything asks for the queue; cheap, because every pytest comes by here."""
    if handshake.JOB_ID_VARIABLE in os.environ:
        return False  # inside a job
    named = (
        config.option.schedule,
        os.environ.get("VALOR_SCHEDULE_SCHEDULE"),
        config.getini("valor_schedule_schedule"),
    )
    return any(named)
