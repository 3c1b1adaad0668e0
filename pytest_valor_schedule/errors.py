"""Define our errors: each is one sentence for the user, what is wrong and what to do."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _T = TypeVar("_T")


class ScheduleError(Exception):
    """Base of all errors that a caller may have to read."""


class InvalidRequestError(ScheduleError):
    """An argument, option or setting has a value that cannot be used."""


class UnknownJobError(ScheduleError):
    """No job, or more than one, answers to the id that was given."""


class JobStatusError(ScheduleError):
    """The job is not in a status in which this can be done.

    Attributes:
        status: The status that the job has.
    """

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class CollectionError(ScheduleError):
    """Pytest could not collect what was asked for, so nothing was scheduled.

    Attributes:
        exit_code: The exit code of the pytest that collected, or None if it did not end by itself.
        output: The last part of what that pytest printed.
    """

    def __init__(self, message: str, exit_code: int | None, output: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.output = output


class StoreError(ScheduleError):
    """The home folder or its database cannot be used."""


class RecordError(StoreError):
    """What is kept of one job cannot be read or written; that will not pass by itself."""


class QueueRebuiltError(StoreError):
    """The database was found to be damaged and has been replaced: the same request may work now."""


def system_error_text(error: OSError) -> str:
    """Return as a sentence what the system refused."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return f"The system refused something that is needed ({reason}); try again later."
    return f"{os.fsdecode(error.filename)} cannot be used ({reason}); check whose it is."


def lacks_room(error: OSError) -> bool:
    """Whether a disk, or this user's part of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def unwritable_text(what: str, error: OSError) -> str:
    """Return as a sentence that a file of the home cannot be written, and what helps."""
    if lacks_room(error):
        help_ = "make room on the disk"
    else:
        help_ = "check its permissions, or set VALOR_HOME"
    return f"The {what} cannot be written ({error.strerror or error}); {help_}."


def retry_if_rebuilt(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call a function once more when its first call led to a new database."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except QueueRebuiltError:
            return function(*args, **kwargs)

    return call
