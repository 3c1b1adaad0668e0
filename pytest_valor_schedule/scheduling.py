"""`valor-schedule run`: a pytest in this folder, scheduled without a pytest in this process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_valor_schedule import api, request, settings
from pytest_valor_schedule.answers import Answer, errors_as_answers
from pytest_valor_schedule.settings import Home

_PARAMETERS = {"notify": "notification_chat_id"}


@errors_as_answers
def run(arguments: Sequence[str], options: Mapping[str, Any]) -> Answer:
    """Schedule `pytest ARGUMENTS` in the current folder.

    Args:
        arguments: pytest's.
        options: `priority`, `max_workers`, `timeout_minutes` and `notify` as they were given, or
            None: then the environment, config.toml or the default says it.

    Returns:
        What `schedule_tests` returns.
    """
    machine = Home.find(os.environ).settings()
    wanted: dict[str, Any] = {}
    for name in ("priority", "max_workers", "timeout_minutes", "notify"):
        setting = settings.look_up(name, options.get(name), os.environ, None, machine)
        number = name in ("max_workers", "timeout_minutes")
        value = request.number(setting.value) if number else setting.value
        wanted[_PARAMETERS.get(name, name)] = value
    return api.schedule_tests(shlex.join(["pytest", *arguments]), **wanted)
