"""Inside the pytest of a submitter: whether it hands over what it collects, and how it may."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.model.run_config import CollectConfig
from pytest_valor_schedule.plugin import held_output
from pytest_valor_schedule.plugin.options import Sources
from pytest_valor_schedule.plugin.submit_plugin import (
    HELD,
    SHOWS_WORKERS,
    CollectPlugin,
    SubmitPlugin,
    terminal_order,
)


def collecting(
    config: pytest.Config, order: CollectConfig, environment: Mapping[str, str]
) -> object:
    """Return the plugin object for a pytest that only collects, for `schedule_tests`."""
    refusal = _refusal(config)
    try:
        home = Home.find(environment)
        sources = Sources(config, environment, home.settings())
        request = {**dataclasses.asdict(sources.request(order.request)), **order.request}
        limits = sources.limits()
    except ScheduleError as error:
        refusal, limits, request = str(error), {}, {}
    _do_not_run_here(config)
    return CollectPlugin(Path(order.target), refusal, limits, request)


def scheduling(
    config: pytest.Config, environment: Mapping[str, str], *, by_machine: bool
) -> object | None:
    """Return the plugin object that hands the run over; None if it shall run here after all.

    Args:
        config: pytest's.
        environment: The one that this pytest was started with.
        by_machine: Whether the machine queues the runs that nobody else has asked to queue.

    Raises:
        pytest.UsageError: if an option or setting cannot be used.
    """
    try:
        home = Home.find(environment)
        sources = Sources(config, environment, home.settings())
        asked_for = config.option.schedule or config.option.schedule_wait
        if not (asked_for or by_machine or settings.is_on(sources.setting("schedule"))):
            return None
        refusal = _refusal(config)
        if refusal and not asked_for:
            return None  # switched on for all runs, but this one is for the terminal
        if refusal:
            raise InvalidRequestError(refusal)
        wait = by_machine or settings.is_on(sources.setting("schedule_wait"))
        request, limits = sources.request(), sources.limits()
    except ScheduleError as error:
        raise pytest.UsageError(str(error)) from None
    _do_not_run_here(config)
    return SubmitPlugin(home, terminal_order(config, environment), request, limits, wait)


def goes_away(config: pytest.Config, environment: Mapping[str, str], *, certain: bool) -> bool:
    """Return whether the run goes to the background, as far as is known before it is configured.

    Args:
        config: pytest's.
        environment: The one that this pytest was started with.
        certain: Whether it does so whatever the settings say.
    """
    with contextlib.suppress(ScheduleError):  # which is told later
        sources = Sources(config, environment, Home.find(environment).settings())
        certain = certain or config.option.schedule or config.option.schedule_wait
        return (certain or settings.is_on(sources.setting("schedule"))) and not _refusal(config)
    return False


def waits(config: pytest.Config, environment: Mapping[str, str]) -> bool:
    """Return whether this pytest waits for the run that it hands over, as far as is known."""
    with contextlib.suppress(ScheduleError):
        sources = Sources(config, environment, Home.find(environment).settings())
        return settings.is_on(sources.setting("schedule_wait"))
    return False


def leave_streams(config: pytest.Config) -> None:
    """Before other plugins open the reports that the job writes: keep them from it."""
    other_plugins.leave_streams(config)


@contextlib.contextmanager
def hold_output(config: pytest.Config) -> Iterator[None]:
    """Keep what is printed here, as long as it is not known that the job does not print it."""
    with held_output.hold_output() as held:
        config.stash[HELD] = held
        config.pluginmanager.register(held, "valor_schedule_held_output")
        yield


def _refusal(config: pytest.Config) -> str | None:
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


def _do_not_run_here(config: pytest.Config) -> None:
    """Keep what serves the run alone from starting in a process that only collects."""
    option = config.option
    asked_for = getattr(option, "numprocesses", None) or getattr(option, "tx", None)
    config.stash[SHOWS_WORKERS] = bool(asked_for)
    option.numprocesses = None
    option.dist = "no"  # xdist would start idle workers
    option.tx = []
    other_plugins.leave_streams(config)
