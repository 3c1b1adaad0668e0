"""What this run's options, environment, ini file and machine say about its scheduling."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.model.run_options import RunOptions

_OPTIONS = (
    *("schedule", "schedule_wait", "priority", "max_workers", "timeout_minutes", "notify"),
    "confirm_failures",
)
"""The settings that are also options of ours; a project may have its own `--order`."""


_SETTINGS = {"notification_chat_id": "notify"}
"""The fields of a request that are set under another name."""


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

    def value(self, name: str) -> Any:
        """Return the nearest value of a setting, as it is used.

        Raises:
            InvalidRequestError: if it cannot be used.
        """
        return settings.check(name, self.setting(name))

    def request(self, given: Collection[str] = ()) -> RunOptions:
        """Return how the run shall be executed.

        Args:
            given: The fields that are given by other means, and not to be looked up.

        Raises:
            InvalidRequestError: if one of the settings cannot be used.
        """
        names = ("priority", "max_workers", "timeout_minutes", "notification_chat_id")
        wanted = [name for name in names if name not in given]
        return RunOptions(**{name: self.value(_SETTINGS.get(name, name)) for name in wanted})

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
