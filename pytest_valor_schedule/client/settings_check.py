"""Whether what the environment and config.toml say of the settings can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_OURS = {value for name, value in vars(env).items() if name.endswith("VARIABLE")}
_OURS |= {notification.ADDRESS_VARIABLE, notification.TOKEN_VARIABLE}


def _amount(value: Any, source: str) -> None:
    try:
        run_options.check_amount(value, source, "")
    except InvalidRequestError:
        text = f"{source} is {value!r}, but must be a number of 0 or more."
        raise InvalidRequestError(text) from None


def _switch(value: Any, source: str) -> bool:
    return settings.is_on(Setting(value, source))


_CHECKS: Mapping[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("schedule", "schedule_wait", "fork_workers"), _switch),
    **dict.fromkeys(("test_timeout", "stall_minutes", "log_mb"), run_options.check_optional_amount),
    **dict.fromkeys(("aging_minutes", "memory_reserve_mb", *_RETENTION), _amount),
    "priority": run_options.check_priority,
    "max_workers": run_options.check_max_workers,
    "timeout_minutes": run_options.check_timeout_minutes,
    "order": run_options.check_order,
    "confirm_failures": run_options.check_confirm_failures,
    "flaky": run_options.check_flaky,
    "learn": run_options.check_learn,
}


def problems(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each setting of the machine that cannot be used, or is none.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    machine = home.settings()
    yield from misspelt(home, environment)
    for name, check in _CHECKS.items():
        if name in settings.DEFAULTS:
            found = settings.look_up(name, None, environment, None, machine)
        else:
            found = Setting(machine.get(name), f"{name} in config.toml")
        if found.value is not None:
            yield from _problem(check, run_options.number(found.value), found.source)
    yield from _problem(slots.total, home, environment)
    yield from _problem(settings.direct_runs, home, environment)


def _problem(check: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        check(*arguments)
    except ScheduleError as error:
        yield str(error)


def misspelt(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each name in config.toml or the environment that is no setting.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    known = [*settings.DEFAULTS, *_RETENTION, *_HIDDEN]
    for name in strangers(home.settings()):
        yield f"config.toml has {name!r}, which is no setting{_meant(name, known)}."
    known = [f"{_PREFIX}{name.upper()}" for name in (*settings.DEFAULTS, *_HIDDEN)]
    for name in sorted(each for each in environment if each.startswith(_PREFIX)):
        if name not in known and name not in _OURS:
            yield f"The environment has {name}, which is no setting{_meant(name, known)}."


def strangers(machine: Mapping[str, Any]) -> list[str]:
    """Return the names that config.toml has and that mean nothing."""
    return sorted(machine.keys() - {*settings.DEFAULTS, *_RETENTION, *_HIDDEN})


def _meant(name: str, known: Iterable[str]) -> str:
    import difflib  # here, because few need it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; {close[0]} is one" if close else ""
