"""What this run's options, environment, ini file and machine say about its scheduling."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from pytest_valor_schedule.client.settings_check import FIELDS, Check, numeric
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.model.run_options import (
    RunOptions,
    check_confirm_failures,
    check_flaky,
    check_learn,
    check_optional_amount,
    check_order,
)

_OPTIONS = (
    *("schedule", "schedule_wait", "priority", "max_workers", "timeout_minutes", "notify"),
    "confirm_failures",
)
"""The settings that are also options of ours; a project may have its own `--order`."""


class Sources:
    """All the places that a setting of this run can come from."""

    def __init__(
        self, config: pytest.Config, environment: Mapping[str, str], machine: Mapping[str, Any]
    ) -> None:
        self._config = config
        self._environment = environment
        self._machine = machine

    def setting(self, name: str) -> Setting:
        """Return the nearest value of a setting, and where it stands."""
        option = getattr(self._config.option, name, None) if name in _OPTIONS else None
        ini = self._config.getini(f"valor_schedule_{name}")
        return settings.look_up(name, option, self._environment, ini, self._machine)

    def request(self, given: Collection[str] = ()) -> RunOptions:
        """Return how the run shall be executed.

        Args:
            given: The fields that are given by other means, and not to be looked up.

        Raises:
            InvalidRequestError: if one of the settings cannot be used.
        """
        rest = {field: each for field, each in FIELDS.items() if field not in given}
        return RunOptions(**{field: self._checked(*each) for field, each in rest.items()})

    def limits(self) -> dict[str, Any]:
        """Return what of a job is the project's to set: clocks in seconds, MiB, the order."""
        self._checked("learn", check_learn)  # they are used elsewhere; here it is said if wrong
        minutes = self._checked("stall_minutes", numeric(check_optional_amount))
        return {
            "test_timeout_seconds": self._checked("test_timeout", numeric(check_optional_amount)),
            "stall_seconds": minutes and minutes * 60,
            "log_mb": self._checked("log_mb", numeric(check_optional_amount)),
            "order": self._checked("order", check_order),
            "confirm_failures": self._checked("confirm_failures", numeric(check_confirm_failures)),
            "flaky_passes": self._checked("flaky", check_flaky) == "pass",
            "fork_workers": settings.is_on(self.setting("fork_workers")),
        }

    def _checked(self, name: str, check: Check) -> Any:
        setting = self.setting(name)
        return check(setting.value, setting.source)
