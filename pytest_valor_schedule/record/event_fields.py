"""Check what the fields of an event hold: any test can write into its job's folder. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_Check = Callable[[Any], bool]

_MOST_SECONDS = 2.5e11  # since the epoch: in the year 9892; a date of a later one cannot be shown
_MOST_NUMBER = 2**31 - 1
_MOST_NESTED = 50


def valid_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without the fields that hold what none of its writers puts there."""
    checks = _OF_WARNINGS if event["kind"] == "warning" else _CHECKS
    return {
        name: value
        for name, value in event.items()
        if value is None or name not in checks or checks[name](value)
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_seconds(value: object) -> bool:
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return is_number and 0 <= value <= _MOST_SECONDS  # type: ignore[operator]  # nor is it NaN


def _is_number(value: object) -> bool:
    return type(value) is int and abs(value) <= _MOST_NUMBER


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_sections(value: object) -> bool:
    return isinstance(value, list) and all(_are_texts(pair) and len(pair) == 2 for pair in value)


def _is_extra(value: object) -> bool:
    return isinstance(value, dict) and _is_json(value)


def _is_json(value: object, depth: int = 0) -> bool:
    """Whether any reader of JSON can read a value: neither NaN nor nested without end."""
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return depth < _MOST_NESTED and all(_is_json(each, depth + 1) for each in members)
    return not isinstance(value, float) or math.isfinite(value)


def _is_place(value: object) -> bool:
    return (
        isinstance(value, list)
        and [type(each) for each in value] == [str, int, str]
        and _is_number(value[1])
    )


_TEXTS = (
    *("id", "phase", "outcome", "subtest", "message", "longrepr", "location", "text", "worker"),
    *("stacks", "claim", "category", "filename", "digest", "refused"),
)
_CHECKS: dict[str, _Check] = {
    **dict.fromkeys(_TEXTS, _is_text),
    **dict.fromkeys(("at", "start", "moment", "duration"), _is_seconds),
    **dict.fromkeys(("pid", "code", "line", "log"), _is_number),
    **dict.fromkeys(("ids", "keywords"), _are_texts),
    "sections": _are_sections,
    "extra": _is_extra,
    "from_outside": lambda value: isinstance(value, bool),
    "serial": lambda value: isinstance(value, dict),  # whoever replays it is ready for anything
}
_OF_WARNINGS: dict[str, _Check] = {**_CHECKS, "location": _is_place}
