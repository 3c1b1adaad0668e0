"""Check the options of a run, and the other values that a caller gives. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model.job_terms import JobStatus, Priority

_LONGEST_MINUTES = 366 * 24 * 60
_MOST_TRIES = 10
_LONGEST = 4096  # characters of an address
_MOST = 2**63 - 1  # what SQLite can count to


def _refusal(value: Any, source: str, needed: str) -> InvalidRequestError:
    """Return the error for a value that cannot be used: where it stands, and what it must be."""
    return InvalidRequestError(f"{source} is {_shown(value)}, but must be {needed}.")


def _shown(value: Any) -> str:
    """Return a value for a message, whatever it is."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(names: Iterable[str]) -> str:
    words = [f'"{name}"' for name in names]
    return ", ".join(words[:-1]) + " or " + words[-1]


def check_word(value: Any, source: str, words: Iterable[str]) -> str:
    """Return value as one of some words or raise InvalidRequestError."""
    choices = [str(word) for word in words]
    if isinstance(value, str) and value in choices:
        return str(value)
    raise _refusal(value, source, _listed(choices))


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_amount(value: Any, most: float = math.inf) -> bool:
    """Return whether a value is a number of 0 or more."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= most


def check_priority(value: Any, source: str = "priority") -> Priority:
    """Return value as a priority or raise InvalidRequestError."""
    return Priority(check_word(value, source, Priority))


def check_max_workers(value: Any, source: str = "max_workers") -> int:
    """Return value as a number of workers or raise InvalidRequestError."""
    if _is_whole(value, 1, _MOST):
        return int(value)
    raise _refusal(value, source, "a whole number of 1 or more")


def check_timeout_minutes(value: Any, source: str = "timeout_minutes") -> float:
    """Return value as a number of minutes or raise InvalidRequestError."""
    if value and is_amount(value, _LONGEST_MINUTES):
        return float(value) if isinstance(value, float) else int(value)
    needed = "a number of minutes above 0 and up to one year (fractions are allowed)"
    raise _refusal(value, source, needed)


def check_optional_amount(value: Any, source: str) -> float | None:
    """Return value as a number, None for 0 or None, or raise InvalidRequestError."""
    if value is None or is_amount(value, _MOST):
        return float(value) if value else None
    raise _refusal(value, source, "a number above 0, or 0 to switch it off")


def check_amount(value: Any, source: str, needed: str = "a number of 0 or more") -> float:
    """Return value as a number of 0 or more or raise InvalidRequestError."""
    if is_amount(value):
        return value  # type: ignore[no-any-return]
    raise _refusal(value, source, needed)


def check_confirm_failures(value: Any, source: str = "confirm_failures") -> int | None:
    """Return value as a number of further tries, None for 0, or raise InvalidRequestError."""
    if value is None or _is_whole(value, 0, _MOST_TRIES):
        return value or None
    raise _refusal(value, source, f"a whole number from 0 to {_MOST_TRIES}")


def check_switch(value: Any, source: str) -> bool:
    """Return value as yes or no or raise InvalidRequestError."""
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise InvalidRequestError(
        f"{source} is {_shown(value)}, which is neither true nor false; use one."
    )


def check_notification_chat_id(value: Any, source: str = "notification_chat_id") -> str | None:
    """Return value as the address of whoever wants to be told, or raise InvalidRequestError."""
    if value is None:
        return value
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _LONGEST:
        return value
    needed = f"the text of a chat id or address of at most {_LONGEST} characters"
    raise _refusal(value, source, f"{needed}, or None for no message")


def check_limit(value: Any) -> int:
    """Return value as a number of rows or raise InvalidRequestError."""
    if _is_whole(value, 0):
        return min(int(value), _MOST)
    raise _refusal(value, "limit", "a whole number of 0 or more")


def check_status_filter(value: Any) -> JobStatus | None:
    """Return value as a status, None for all, or raise InvalidRequestError."""
    if value is None or value in list(JobStatus):
        return value and JobStatus(value)
    raise _refusal(value, "status_filter", f"{_listed(JobStatus)}, or None for all")


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
        cls, priority: Any, max_workers: Any, timeout_minutes: Any, notification_chat_id: Any
    ) -> RunOptions:
        """Return options of valid values.

        Raises:
            InvalidRequestError: naming the first value that is not.
        """
        return cls(
            priority=check_priority(priority),
            max_workers=check_max_workers(max_workers),
            timeout_minutes=check_timeout_minutes(timeout_minutes),
            notification_chat_id=check_notification_chat_id(notification_chat_id),
        )


def apply_changes(options: RunOptions, changes: Mapping[str, Any]) -> RunOptions:
    """Return options as the hooks `pytest_valor_schedule_submit` of a project want them.

    Raises:
        InvalidRequestError: if the hooks refuse the run, or want something impossible.
    """
    if "veto" in changes:
        why = changes["veto"] or "it gives no reason"
        raise InvalidRequestError(f"The project does not let this run be scheduled: {why}")
    fields = dataclasses.asdict(options)
    unknown = sorted(str(name) for name in changes if name not in fields)
    if unknown:
        raise InvalidRequestError(
            f"{unknown[0]!r} is in what pytest_valor_schedule_submit returned, but must be one of "
            f"{', '.join(fields)}, veto."
        )
    return RunOptions.parse(**fields | dict(changes))
