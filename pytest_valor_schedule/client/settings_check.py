"""Check settings, and find those of the environment and config.toml that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_valor_schedule import env
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import SETTINGS
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.errors import ScheduleError

_PREFIX = "VALOR_SCHEDULE_"
_OURS = {value for name, value in vars(env).items() if name.endswith("VARIABLE")}
_OURS |= {notification.ADDRESS_VARIABLE, notification.TOKEN_VARIABLE}


def problems(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each setting of the machine that cannot be used, or is none.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    machine = home.settings()
    yield from unknown_settings(home, environment)
    for name in SETTINGS:
        setting = settings.look_up(name, None, environment, None, machine)
        if setting.value is not None:
            try:
                settings.check(name, setting)
            except ScheduleError as error:
                yield str(error)


def unknown_settings(home: Home, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each name in config.toml or the environment that is no setting.

    Raises:
        ScheduleError: if config.toml cannot be read.
    """
    for name in unknown_names(home.settings()):
        yield f"config.toml has {name!r}, which is no setting{_suggestion(name, SETTINGS)}."
    variables = [
        f"{_PREFIX}{name.upper()}" for name, each in SETTINGS.items() if each.in_environment
    ]
    for name in sorted(each for each in environment if each.startswith(_PREFIX)):
        if name not in variables and name not in _OURS:
            yield f"The environment has {name}, which is no setting{_suggestion(name, variables)}."


def unknown_names(machine: Mapping[str, Any]) -> list[str]:
    """Return the names that config.toml has and that mean nothing."""
    return sorted(machine.keys() - SETTINGS.keys())


def _suggestion(name: str, names: Iterable[str]) -> str:
    import difflib  # here, because few need it

    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; {close[0]} is one" if close else ""
