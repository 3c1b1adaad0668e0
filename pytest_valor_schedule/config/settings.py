"""Define the settings: the default of each, what it may be, and where it may stand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.retention import Retention
from pytest_valor_schedule.model.work_units import TestOrder

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


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """What a setting is.

    Attributes:
        default: What holds where nobody sets it.
        check: Returns a value as it is used, given also its source; raises InvalidRequestError.
        in_environment: Whether it has an environment variable, and not only config.toml.
        listed: Whether `valor-schedule settings` shows it.
    """

    default: Any
    check: Callable[[Any, str], Any]
    in_environment: bool = True
    listed: bool = True


def _numeric(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Have a check take the text of a number, which is all that an environment has, as one."""
    return lambda value, source: check(run_options.number(value), source)


def _one_of(*words: str) -> Callable[[Any, str], Any]:
    return partial(run_options.check_word, words=words)


_amount = _numeric(run_options.check_amount)
_optional_amount = _numeric(run_options.check_optional_amount)
_workers = _numeric(run_options.check_max_workers)

SETTINGS: Mapping[str, Definition] = {
    "schedule": Definition(False, run_options.check_switch),
    "schedule_wait": Definition(False, run_options.check_switch),
    "priority": Definition("normal", run_options.check_priority),
    "max_workers": Definition(2, _workers),
    "timeout_minutes": Definition(10, _numeric(run_options.check_timeout_minutes)),
    "notify": Definition(None, run_options.check_notification_chat_id),
    "test_timeout": Definition(None, _optional_amount),
    "stall_minutes": Definition(5, _optional_amount),
    "log_mb": Definition(50, _optional_amount),
    "order": Definition("longest", _one_of(*TestOrder)),
    "confirm_failures": Definition(0, _numeric(run_options.check_confirm_failures)),
    "flaky": Definition("fail", _one_of("fail", "pass")),
    "learn": Definition("jobs", _one_of("jobs", "all")),
    "fork_workers": Definition(True, run_options.check_switch),
    "inline": Definition("auto", _one_of("auto", "never")),
    "slots": Definition(None, _workers),
    "aging_minutes": Definition(AGING_SECONDS / 60, _amount),
    "memory_reserve_mb": Definition(512, _amount),
    "direct_runs": Definition("ignore", _one_of(*DirectRuns)),
    **{
        field.name: Definition(field.default, _amount, in_environment=False)
        for field in dataclasses.fields(Retention)
    },
    # What comes next starts faster than what came first, so a dispatcher stays for a while.
    "idle_seconds": Definition(30.0, _amount, listed=False),
    "sessions": Definition(False, run_options.check_switch, listed=False),  # see `client.session`
    "telegram_token": Definition(None, lambda value, _: value, listed=False),
}
"""All settings by their names, in the order in which they are shown."""

FIELDS: Mapping[str, str] = {
    **{name: name for name in ("priority", "max_workers", "timeout_minutes")},
    "notification_chat_id": "notify",
}
"""By field of `RunOptions`: its setting."""


def command_line_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `RunOptions` that a command line sets, checked.

    Args:
        options: By name of the setting; None for what is not said there.

    Raises:
        InvalidRequestError: if one of them cannot be used.
    """
    return {
        field: SETTINGS[name].check(options[name], f"--{name.replace('_', '-')}")
        for field, name in FIELDS.items()
        if options.get(name) is not None
    }


def look_up(
    name: str,
    option: Any,
    environment: Mapping[str, str],
    ini: Any,
    machine: Mapping[str, Any],
) -> Setting:
    """Return the nearest value of a setting.

    Args:
        name: One of SETTINGS.
        option: The value of the command line, or None if it was not given there.
        environment: The environment variables.
        ini: The value of the project's ini file, or None or "" if it has none.
        machine: What config.toml says.
    """
    definition, variable = SETTINGS[name], f"VALOR_SCHEDULE_{name.upper()}"
    exported = environment.get(variable) if definition.in_environment else None
    candidates = (
        (option, f"--{name.replace('_', '-')}"),
        (exported or None, f"the environment variable {variable}"),
        (None if ini == "" else ini, f"valor_schedule_{name} in the ini file"),
        (machine.get(name), f"{name} in config.toml"),
        (definition.default, "the default"),
    )
    present = (Setting(value, source) for value, source in candidates if value is not None)
    return next(present, Setting(None, "the default"))


def check(name: str, setting: Setting) -> Any:
    """Return the value of a setting as it is used.

    Raises:
        InvalidRequestError: if it cannot be used.
    """
    return SETTINGS[name].check(setting.value, setting.source)


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
    return DirectRuns(check("direct_runs", setting))


def aging_seconds(home: Home) -> float:
    """Return for how long of waiting a job rises by one step of priority, in seconds."""
    return amount("aging_minutes", home) * 60


def amount(name: str, home: Home, environment: Mapping[str, str] = os.environ) -> float:
    """Return an amount; one that cannot be used does not keep the queue from being served."""
    try:
        return float(check(name, look_up(name, None, environment, None, home.settings())))
    except (ScheduleError, OverflowError):
        return float(SETTINGS[name].default)
