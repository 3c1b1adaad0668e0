"""Check settings, and find those of the environment and config.toml that cannot be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_valor_schedule import env
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.retention import Retention
from pytest_valor_schedule.queue import slots

_PREFIX = "VALOR_SCHEDULE_"
_RETENTION = tuple(field.name for field in dataclasses.fields(Retention))
_HIDDEN = ("idle_seconds", "telegram_token")
_MACHINE_NAMES = (*settings.DEFAULTS, *_RETENTION, *_HIDDEN)
_OURS = {value for name, value in vars(env).items() if name.endswith("VARIABLE")}
_OURS |= {notification.ADDRESS_VARIABLE, notification.TOKEN_VARIABLE}


Check = Callable[[Any, str], Any]


def _numeric(check: Check) -> Check:
    """Return a check that also takes a number as text."""
    return lambda value, source: check(run_options.number(value), source)


def _amount(value: Any, source: str) -> None:
    try:
        run_options.check_amount(value, source, "")
    except InvalidRequestError:
        text = f"{source} is {value!r}, but must be a number of 0 or more."
        raise InvalidRequestError(text) from None


def _switch(value: Any, source: str) -> bool:
    return settings.is_on(Setting(value, source))


_LIMITS = ("test_timeout", "stall_minutes", "log_mb")
CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(("schedule", "schedule_wait", "fork_workers"), _switch),
    **dict.fromkeys(_LIMITS, _numeric(run_options.check_optional_amount)),
    **dict.fromkeys(("aging_minutes", "memory_reserve_mb", *_RETENTION), _numeric(_amount)),
    "priority": run_options.check_priority,
    "max_workers": _numeric(run_options.check_max_workers),
    "timeout_minutes": _numeric(run_options.check_timeout_minutes),
    "notify": run_options.check_notification_chat_id,
    "order": run_options.check_order,
    "confirm_failures": _numeric(run_options.check_confirm_failures),
    "flaky": run_options.check_flaky,
    "learn": run_options.check_learn,
}
"""By setting: what checks a value, given its source, and returns it as it is used."""
FIELDS: Mapping[str, str] = {
    **{name: name for name in ("priority", "max_workers", "timeout_minutes")},
    "notification_chat_id": "notify",
}
"""By field of `RunOptions`: its setting."""


def problems(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each setting of the machine that cannot be used, or is none.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    machine = home.settings()
    yield from unknown_settings(home, environment)
    for name, check in CHECKS.items():
        if name in settings.DEFAULTS:
            setting = settings.look_up(name, None, environment, None, machine)
        else:
            setting = Setting(machine.get(name), f"{name} in config.toml")
        if setting.value is not None:
            yield from _problem(check, setting.value, setting.source)
    yield from _problem(slots.total, home, environment)
    yield from _problem(settings.direct_runs, home, environment)


def _problem(check: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        check(*arguments)
    except ScheduleError as error:
        yield str(error)


def unknown_settings(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each name in config.toml or the environment that is no setting.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    for name in unknown_names(home.settings()):
        yield f"config.toml has {name!r}, which is no setting{_suggestion(name, _MACHINE_NAMES)}."
    variables = [f"{_PREFIX}{name.upper()}" for name in (*settings.DEFAULTS, *_HIDDEN)]
    for name in sorted(each for each in environment if each.startswith(_PREFIX)):
        if name not in variables and name not in _OURS:
            yield f"The environment has {name}, which is no setting{_suggestion(name, variables)}."


def unknown_names(machine: Mapping[str, Any]) -> list[str]:
    """Return the names in config.toml that are no settings."""
    return sorted(machine.keys() - {*_MACHINE_NAMES})


def _suggestion(name: str, names: Sequence[str]) -> str:
    import difflib  # here, because few need it

    close = difflib.get_close_matches(name, names, n=1)
    return f"; {close[0]} is one" if close else ""
