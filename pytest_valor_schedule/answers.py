"""Errors as plain values: what a program gets that asked for something impossible."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

from pytest_valor_schedule.errors import ScheduleError, again_if_rebuilt, system_error_text

_P = ParamSpec("_P")
Answer = dict[str, Any]


def errors_as_answers(function: Callable[_P, Answer]) -> Callable[_P, Answer]:
    """Have a function return its errors by `error_answer`."""

    @functools.wraps(function)
    def answering(*args: _P.args, **kwargs: _P.kwargs) -> Answer:
        try:
            return again_if_rebuilt(function)(*args, **kwargs)
        except ScheduleError as error:
            return error_answer(error)
        except OSError as error:
            return {"error": system_error_text(error)}

    return answering


def error_answer(error: ScheduleError) -> Answer:
    """Return an error as callers get it: `error`, and `status`, `exit_code`, `output` if known."""
    answer: Answer = {"error": str(error)}
    for name in ("status", "exit_code", "output"):
        if value := getattr(error, name, None):
            answer[name] = value if isinstance(value, int) else str(value)
    return answer
