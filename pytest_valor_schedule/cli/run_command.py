"""`valor-schedule run`: a pytest in this folder, scheduled without a pytest in this process."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_valor_schedule.cli.parser import OWN_OPTIONS
from pytest_valor_schedule.client.collect import collect
from pytest_valor_schedule.client.error_response import errors_as_answers
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.client.submit import submit
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.model.run_request import parse_request

_CHECKS = {
    "priority": run_options.check_priority,
    "max_workers": run_options.check_max_workers,
    "timeout_minutes": run_options.check_timeout_minutes,
    "notify": run_options.check_notification_chat_id,
}
_FIELDS = {"notify": "notification_chat_id"}
_OWN = (*OWN_OPTIONS["run"], "--wait", "--json")
_COLLECTING_SECONDS = 600.0


@errors_as_answers
def run(arguments: Sequence[str], options: Mapping[str, Any]) -> ScheduleResponse:
    """Schedule `pytest ARGUMENTS` in the current folder.

    Args:
        arguments: pytest's.
        options: `priority`, `max_workers`, `timeout_minutes`, `notify` and `confirm_failures` as
            they were given, or None: then the environment, the project's ini file, config.toml or
            the default says it.

    Returns:
        What `schedule_tests` returns, and `workers`, `estimated_from`, `estimate` and `place`, as
        text.
    """
    _refuse_late(arguments)
    given = _given(options)
    order = parse_request(shlex.join(["pytest", *arguments]), None)
    seconds = float(given.get("timeout_minutes") or 0.0) * 60 or _COLLECTING_SECONDS
    found = collect(order.launcher, order.arguments, order.cwd, order.environment, seconds, given)
    wanted = run_options.apply_changes(RunOptions.parse(**found.request), found.changes)
    if options.get("confirm_failures") is not None:
        tries = run_options.number(options["confirm_failures"])
        checked = run_options.check_confirm_failures(tries, "--confirm-failures")
        found = dataclasses.replace(found, confirm_failures=checked)
    receipt = submit(Home.find(os.environ), order, wanted, found)
    return receipt.shown_answer(found.nodeids)


def _refuse_late(arguments: Sequence[str]) -> None:
    """Raise InvalidRequestError for an option of ours that pytest would get."""
    for word in arguments:
        if word == "--":
            return
        if word.partition("=")[0] in _OWN:
            raise InvalidRequestError(
                f"{word} is an option of `valor-schedule run`; put it before pytest's arguments."
            )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that were given as options, checked."""
    given = {name: options.get(name) for name in _CHECKS if options.get(name) is not None}
    return {
        _FIELDS.get(name, name): _CHECKS[name](_value(name, text), f"--{name.replace('_', '-')}")
        for name, text in given.items()
    }


def _value(name: str, text: Any) -> Any:
    return run_options.number(text) if name in ("max_workers", "timeout_minutes") else text
