"""What a submitter asks for: checked values. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model.job import JobStatus, Priority
from pytest_valor_schedule.model.work_units import TestOrder

_LONGEST_MINUTES = 366 * 24 * 60
_MOST_TRIES = 10
_LONGEST = 4096  # characters of an address
_MOST = 2**63 - 1  # what SQLite can count to


def _shown(value: Any) -> str:
    """Return a value for a message, whatever it is."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: type[Priority] | type[JobStatus]) -> str:
    words = [f'"{name}"' for name in names]
    return ", ".join(words[:-1]) + " or " + words[-1]


def check_priority(value: Any, source: str = "priority") -> Priority:
    """Return value as a priority or raise InvalidRequestError."""
    try:
        return Priority(value)
    except ValueError:
        raise InvalidRequestError(
            f"{source} is {_shown(value)}, but must be {_listed(Priority)}."
        ) from None


def check_max_workers(value: Any, source: str = "max_workers") -> int:
    """Return value as a number of workers or raise InvalidRequestError."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST:
        return value
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, but must be a whole number of 1 or more."
    )


def check_timeout_minutes(value: Any, source: str = "timeout_minutes") -> float:
    """Return value as a number of minutes or raise InvalidRequestError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 < value <= _LONGEST_MINUTES:
        return float(value) if isinstance(value, float) else int(value)
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, but must be a number of minutes above 0 and up to one year "
        "(fractions are allowed)."
    )


def check_optional_amount(value: Any, source: str) -> float | None:
    """Return value as a number, None for 0 or None, or raise InvalidRequestError."""
    if value is None or value == 0:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MOST:
        return float(value)
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, but must be a number above 0, or 0 to switch it off."
    )


def check_order(value: Any, source: str) -> str:
    """Return value as an order of tests or raise InvalidRequestError."""
    try:
        return str(TestOrder(value))
    except ValueError:
        words = ", ".join(f'"{word}"' for word in TestOrder)
        raise InvalidRequestError(
            f"{source} is {_shown(value)}, but must be one of {words}."
        ) from None


def check_learn(value: Any, source: str) -> str:
    """Return value as "jobs" or "all", or raise InvalidRequestError."""
    if value in ("jobs", "all"):
        return str(value)
    raise InvalidRequestError(f'{source} is {_shown(value)}, but must be "jobs" or "all".')


def check_confirm_failures(value: Any, source: str = "confirm_failures") -> int | None:
    """Return value as a number of further tries, None for 0, or raise InvalidRequestError."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TRIES:
        return value or None
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, but must be a whole number from 0 to {_MOST_TRIES}."
    )


def check_flaky(value: Any, source: str) -> str:
    """Return value as "fail" or "pass", or raise InvalidRequestError."""
    if value in ("fail", "pass"):
        return str(value)
    raise InvalidRequestError(f'{source} is {_shown(value)}, but must be "fail" or "pass".')


def check_notification_chat_id(value: Any, source: str = "notification_chat_id") -> str | None:
    """Return value as the address of whoever wants to be told, or raise InvalidRequestError."""
    if value is None:
        return value
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _LONGEST:
        return value
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, but must be the text of a chat id or address of at most "
        f"{_LONGEST} characters, or None for no message."
    )


def check_limit(value: Any) -> int:
    """Return value as a number of rows or raise InvalidRequestError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, _MOST)
    raise InvalidRequestError(f"limit is {_shown(value)}, but must be a whole number of 0 or more.")


def check_status_filter(value: Any) -> JobStatus | None:
    """Return value as a status, None for all, or raise InvalidRequestError."""
    if value is None:
        return None
    try:
        return JobStatus(value)
    except ValueError:
        raise InvalidRequestError(
            f"status_filter is {_shown(value)}, but must be {_listed(JobStatus)}, or None for all."
        ) from None


def number(text: Any) -> Any:
    """Return the number that a text from outside Python means, and anything else as it is."""
    if isinstance(text, str):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run shall be executed."""

    priority: Priority = Priority.NORMAL
    max_workers: int = 2
    timeout_minutes: float = 10
    notification_chat_id: str | None = None

    @classmethod
    def parse(
        cls,
        priority: Any,
        max_workers: Any,
        timeout_minutes: Any,
        notification_chat_id: Any,
    ) -> RunOptions:
        """Return a request of valid values.

        Raises:
            InvalidRequestError: naming the first value that is not.
        """
        return cls(
            priority=check_priority(priority),
            max_workers=check_max_workers(max_workers),
            timeout_minutes=check_timeout_minutes(timeout_minutes),
            notification_chat_id=check_notification_chat_id(notification_chat_id),
        )


_CHANGEABLE = ("priority", "max_workers", "timeout_minutes", "notification_chat_id")


def apply_changes(request: RunOptions, changes: Mapping[str, Any]) -> RunOptions:
    """Return a request as the hooks of a project want it.

    Args:
        request: As it was asked for.
        changes: What the hook `pytest_valor_schedule_submit` returned.

    Raises:
        InvalidRequestError: if they refuse it, or want something impossible.
    """
    source = "what pytest_valor_schedule_submit returned"
    if "veto" in changes:
        why = changes["veto"] or "it gives no reason"
        raise InvalidRequestError(f"The project does not let this run be scheduled: {why}")
    unknown = sorted(str(name) for name in changes if name not in _CHANGEABLE)
    if unknown:
        raise InvalidRequestError(
            f"{unknown[0]!r} is in {source}, but must be one of {', '.join(_CHANGEABLE)}, veto."
        )
    wanted = {name: changes.get(name, getattr(request, name)) for name in _CHANGEABLE}
    return RunOptions.parse(**wanted)


def check_amount(value: object, name: str, unit: str) -> float:
    """Return a number of 0 or more as it is, and raise InvalidRequestError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidRequestError(
        f"{name} is {value!r}, but must be a number of {unit} of 0 or more, or None."
    )
