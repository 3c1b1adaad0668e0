"""Give each function for programs an open queue, and return its errors as answers."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.errors import (
    JobStatusError,
    ScheduleError,
    retry_if_rebuilt,
    system_error_text,
)
from pytest_valor_schedule.queue.job_index import JobIndex

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypeVar

    from pytest_valor_schedule.model.job import Job
    from pytest_valor_schedule.queue.store import JobStore

    _P = ParamSpec("_P")
    _Answer = TypeVar("_Answer", bound=Mapping[str, Any])

Response = dict[str, "Any"]


@contextlib.contextmanager
def open_index() -> Iterator[JobIndex]:
    """Open the queue, and make sure that somebody looks after whatever in it has not ended."""
    with JobIndex(Home.find(os.environ)) as index:
        service.look_after(index)
        yield index


@contextlib.contextmanager
def open_queue() -> Iterator[JobStore]:
    """Open the queue as `open_index` does, for its jobs."""
    with open_index() as index:
        yield store_over(index)


def store_over(index: JobIndex) -> JobStore:
    """Return the store of a queue that is open."""
    from pytest_valor_schedule.queue.store import JobStore  # here, because most answers need none

    return JobStore(index.home, index.database)


def require_ended(job: Job) -> Job:
    """Return a job that has ended, and raise JobStatusError for another."""
    if not job.status.is_final:
        raise JobStatusError(
            f"Job {job.job_id} has not ended: it is {job.status}; wait for it, or cancel it.",
            status=job.status,
        )
    return job


def errors_as_answers(function: Callable[_P, _Answer]) -> Callable[_P, _Answer]:
    """Have a function return its errors: `error`, and `status`, `exit_code`, `output` if known."""

    @functools.wraps(function)
    def answering(*args: _P.args, **kwargs: _P.kwargs) -> _Answer:
        try:
            return retry_if_rebuilt(function)(*args, **kwargs)
        except (ScheduleError, OSError) as error:
            answer: _Answer = error_answer(error)
            return answer

    return answering


def error_answer(error: ScheduleError | OSError) -> Any:
    """Return an error as an answer: `error`, and `status`, `exit_code`, `output` if known."""
    if isinstance(error, OSError):
        return {"error": system_error_text(error)}
    answer: Response = {"error": str(error)}
    for name in ("status", "exit_code", "output"):
        if value := getattr(error, name, None):
            answer[name] = value if isinstance(value, int) else str(value)
    return answer
