"""Make the plugin object of a pytest that collects for the queue."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.run_config import CollectConfig
from pytest_valor_schedule.plugin.collect_plugin import CollectPlugin
from pytest_valor_schedule.plugin.run_settings import RunSettings


def collector(
    config: pytest.Config, order: CollectConfig, environment: Mapping[str, str]
) -> object:
    """Return the plugin object for a pytest that only collects, for `schedule_tests`."""
    problem, limits, options = _settings(config, order, environment)
    limits["shows_workers"] = keep_from_running(config)
    other_plugins.leave_streams(config)  # where a conftest.py asks late for the queue
    return CollectPlugin(Path(order.target), problem, limits, options)


def session(
    config: pytest.Config, order: CollectConfig, control: int, environment: Mapping[str, str]
) -> object:
    """Return the plugin object for a pytest that collects, and runs the tests at its turn."""
    from pytest_valor_schedule.plugin.session_plugin import SessionPlugin, StopNote

    problem, limits, options = _settings(config, order, environment)
    limits["shows_workers"] = keep_from_running(config)
    may_inline = problem is None and RunSettings(config, environment).value("inline") == "auto"
    target = Path(order.target)
    plugin = SessionPlugin(
        target, problem, limits, options, control, environment, may_inline=may_inline
    )
    config.pluginmanager.register(StopNote(plugin), "valor_schedule_stop")
    return plugin


def _settings(
    config: pytest.Config, order: CollectConfig, environment: Mapping[str, str]
) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """Return why a run cannot be scheduled, its limits, and the fields of its `RunOptions`."""
    problem = refusal(config)
    try:
        settings = RunSettings(config, environment)
        options = {**dataclasses.asdict(settings.run_options(order.request)), **order.request}
        return problem, settings.limits(), options
    except ScheduleError as error:
        return str(error), {}, {}


def keep_from_running(config: pytest.Config) -> bool:
    """Keep xdist from starting workers in a process that only collects; return whether it would."""
    option = config.option
    shows_workers = getattr(option, "numprocesses", None) or getattr(option, "tx", None)
    option.numprocesses = None
    option.dist = "no"  # xdist would start idle workers
    option.tx = []
    return bool(shows_workers)


def refusal(config: pytest.Config) -> str | None:
    """Return why this run cannot go to the background, or None."""
    reasons = {
        "usepdb": "--pdb opens a debugger",
        "trace": "--trace opens a debugger",
        "looponfail": "--looponfail never ends",
        "collectonly": "--collect-only runs no test",
        "setupplan": "--setup-plan runs no test",
        "setuponly": "--setup-only runs no test",  # which --setup-plan means too
    }
    for name, reason in reasons.items():
        if getattr(config.option, name, False):
            return f"{reason}, which makes no sense in the background; run pytest directly."
    if not config.pluginmanager.hasplugin("xdist"):
        return "A scheduled run needs the plugin pytest-xdist, which is switched off here."
    if _says_no_dist(config.invocation_params.args):
        return "--dist no runs all tests in one process; use --max-workers 1 for one worker."
    if getattr(config.option, "dist", None) == "each":
        return "--dist each runs each test more than once, which the queue cannot record."
    return None


def _says_no_dist(arguments: Sequence[object]) -> bool:
    words = [str(argument) for argument in arguments]
    return "--dist=no" in words or ("--dist", "no") in pairwise(words)
