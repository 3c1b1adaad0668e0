"""Where a setting comes from, and what it is where nobody sets it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError

AGING_SECONDS = 1800.0
"""How much younger a job of the next higher priority may be and still start first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A value and the place that it came from, for messages."""

    value: Any
    source: str


class DirectRuns(StrEnum):
    """What the machine does about runs by hand."""

    IGNORE = "ignore"
    SHARE = "share"  # they hold slots, and `-n auto` means as many as are free
    QUEUE = "queue"  # they behave as with --schedule --schedule-wait


DEFAULTS: Mapping[str, Any] = {
    "schedule": False,
    "schedule_wait": False,
    "priority": "normal",
    "max_workers": 2,
    "timeout_minutes": 10,
    "notify": None,
    "test_timeout": None,
    "stall_minutes": 5,
    "log_mb": 50,
    "order": "longest",
    "confirm_failures": 0,
    "flaky": "fail",
    "learn": "jobs",
    "fork_workers": True,
    "slots": None,
    "aging_minutes": AGING_SECONDS / 60,
    "memory_reserve_mb": 512,
    "direct_runs": "ignore",
}
"""The settings of a run, and what holds where nobody sets them."""


def look_up(
    name: str,
    option: Any,
    environment: Mapping[str, str],
    ini: Any,
    machine: Mapping[str, Any],
) -> Setting:
    """Return the nearest value of a setting.

    Args:
        name: A key of DEFAULTS.
        option: The value of the command line, or None if it was not given there.
        environment: The environment variables.
        ini: The value of the project's ini file, or None or "" if it has none.
        machine: What config.toml says.
    """
    variable = f"VALOR_SCHEDULE_{name.upper()}"
    candidates = (
        (option, f"--{name.replace('_', '-')}"),
        (environment.get(variable) or None, f"the environment variable {variable}"),
        (None if ini == "" else ini, f"valor_schedule_{name} in the ini file"),
        (machine.get(name), f"{name} in config.toml"),
        (DEFAULTS[name], "the default"),
    )
    present = (Setting(value, source) for value, source in candidates if value is not None)
    return next(present, Setting(None, "the default"))


def machine_value(name: str, environment: Mapping[str, str]) -> object:
    """Return what config.toml says of a setting; None if nothing, or nothing that can be read."""
    try:
        return Home.find(environment).settings().get(name)
    except ScheduleError:
        return None


def direct_runs(home: Home, environment: Mapping[str, str]) -> DirectRuns:
    """Return what the machine does about runs by hand.

    Raises:
        ScheduleError: if the setting cannot be read or is unknown.
    """
    setting = look_up("direct_runs", None, environment, None, home.settings())
    try:
        return DirectRuns(setting.value)
    except ValueError:
        words = ", ".join(f'"{word}"' for word in DirectRuns)
        raise InvalidRequestError(
            f"{setting.source} is {setting.value!r}, but must be one of {words}."
        ) from None


def is_on(setting: Setting) -> bool:
    """Return a yes-or-no setting as a bool.

    Raises:
        InvalidRequestError: if it is neither.
    """
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    value = words.get(str(setting.value).strip().lower())
    if value is None:
        raise InvalidRequestError(
            f"{setting.source} is {setting.value!r}, which is neither true nor false; use one."
        )
    return value


def aging_seconds(home: Home, environment: Mapping[str, str] = os.environ) -> float:
    """Return for how long of waiting a job rises by one step of priority, in seconds.

    A setting that cannot be used does not keep the queue from being served.
    """
    try:
        setting = look_up("aging_minutes", None, environment, None, home.settings())
        return max(0.0, float(setting.value) * 60)
    except (ScheduleError, TypeError, ValueError):
        return float(DEFAULTS["aging_minutes"]) * 60


def memory_reserve_bytes(home: Home, environment: Mapping[str, str] = os.environ) -> float:
    """Return how much memory jobs leave to others, in bytes.

    A setting that cannot be used does not keep the queue from being served.
    """
    try:
        setting = look_up("memory_reserve_mb", None, environment, None, home.settings())
        return max(0.0, float(setting.value)) * 2**20
    except (ScheduleError, TypeError, ValueError):
        return float(DEFAULTS["memory_reserve_mb"]) * 2**20


_IDLE_SECONDS = 30.0  # what comes next starts faster than what came first


def idle_seconds(home: Home, environment: Mapping[str, str] = os.environ) -> float:
    """Return how long a dispatcher with nothing to do stays, in seconds.

    A setting that cannot be used does not keep the dispatcher from serving.
    """
    value = environment.get("VALOR_SCHEDULE_IDLE_SECONDS")
    try:
        return float(value or home.settings().get("idle_seconds", _IDLE_SECONDS))
    except (ScheduleError, TypeError, ValueError):
        return _IDLE_SECONDS
