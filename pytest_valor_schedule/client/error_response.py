"""Errors as plain values: what a program gets that asked for something impossible."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from pytest_valor_schedule.errors import ScheduleError, retry_if_rebuilt, system_error_text

Response = dict[str, Any]
_P = ParamSpec("_P")
_Answer = TypeVar("_Answer", bound=Mapping[str, Any])


def errors_as_answers(function: Callable[_P, _Answer]) -> Callable[_P, _Answer]:
    """Have a function return its errors by `error_answer`."""

    @functools.wraps(function)
    def answering(*args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        try:
            return retry_if_rebuilt(function)(*args, **kwargs)
        except ScheduleError as error:
            return cast(_Answer, error_answer(error))
        except OSError as error:
            return cast(_Answer, {"error": system_error_text(error)})

    return answering


def error_answer(error: ScheduleError) -> Response:
    """Return an error as callers get it: `error`, and `status`, `exit_code`, `output` if known."""
    answer: Response = {"error": str(error)}
    for name in ("status", "exit_code", "output"):
        if value := getattr(error, name, None):
            answer[name] = value if isinstance(value, int) else str(value)
    return answer
