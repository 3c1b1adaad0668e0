"""Look up the settings of a run: option, environment, ini file, machine, default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.plugin.options import OPTIONS


class RunSettings:
    """Look up settings in all the places that they can come from.

    Args:
        config: pytest's.
        environment: The one that it was started with.
        options: Those of the command line, where `config.option` has none yet.

    Raises:
        ScheduleError: if there is no home, or config.toml cannot be read.
    """

    def __init__(
        self,
        config: pytest.Config,
        environment: Mapping[str, str],
        options: object = None,
    ) -> None:
        self._config = config
        self._options = config.option if options is None else options
        self._environment = environment
        self._machine = Home.find(environment).settings()

    def value(self, name: str) -> Any:
        """Return the nearest value of a setting, checked.

        Raises:
            InvalidRequestError: if it cannot be used.
        """
        option = getattr(self._options, name, None) if name in OPTIONS else None
        ini = self._config.getini(f"valor_schedule_{name}")
        setting = settings.look_up(name, option, self._environment, ini, self._machine)
        return settings.check(name, setting)

    def run_options(self, exclude: Collection[str] = ()) -> RunOptions:
        """Return how the run shall be executed.

        Args:
            exclude: The fields that are set by other means, and not to be looked up.
        """
        names = {field: name for field, name in settings.FIELDS.items() if field not in exclude}
        return RunOptions(**{field: self.value(name) for field, name in names.items()})

    def limits(self) -> dict[str, Any]:
        """Return what of a job is the project's to set: clocks in seconds, MiB, the order."""
        self.value("learn")  # it is used elsewhere; here it is said if wrong
        minutes = self.value("stall_minutes")
        return {
            "test_timeout_seconds": self.value("test_timeout"),
            "stall_seconds": minutes and minutes * 60,
            "log_mb": self.value("log_mb"),
            "order": self.value("order"),
            "confirm_failures": self.value("confirm_failures"),
            "flaky_passes": self.value("flaky") == "pass",
            "fork_workers": self.value("fork_workers"),
        }
