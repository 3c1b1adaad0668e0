"""One test queue for the machine: schedule pytest runs in the background, keep every result.

Everything is imported when it is first used, because pytest imports this package at its start.
"""

from __future__ import annotations

from pytest_valor_schedule.version import __version__

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

    from pytest_valor_schedule.client.compare import compare_jobs
    from pytest_valor_schedule.client.control import (
        cancel_job,
        hold_job,
        pause_queue,
        release_job,
        resume_queue,
        set_priority,
    )
    from pytest_valor_schedule.client.query import get_job_results, get_job_status, list_jobs
    from pytest_valor_schedule.client.responses import (
        ComparisonResponse,
        ErrorResponse,
        JobChangeResponse,
        JobListResponse,
        JobResultsResponse,
        JobStatusResponse,
        ProgressFields,
        QueueStateResponse,
        ResultFields,
        ScheduleResponse,
        SummaryFields,
    )
    from pytest_valor_schedule.client.schedule import rerun_job, schedule_tests
    from pytest_valor_schedule.client.wait import wait_for_job

__all__ = [
    "ComparisonResponse",
    "ErrorResponse",
    "JobChangeResponse",
    "JobListResponse",
    "JobResultsResponse",
    "JobStatusResponse",
    "ProgressFields",
    "QueueStateResponse",
    "ResultFields",
    "ScheduleResponse",
    "SummaryFields",
    "__version__",
    "cancel_job",
    "compare_jobs",
    "get_job_results",
    "get_job_status",
    "hold_job",
    "list_jobs",
    "pause_queue",
    "release_job",
    "rerun_job",
    "resume_queue",
    "schedule_tests",
    "set_priority",
    "wait_for_job",
]
_ROOMS = {
    "compare": ("compare_jobs",),
    "control": (
        *("cancel_job", "hold_job", "release_job", "set_priority"),
        *("pause_queue", "resume_queue"),
    ),
    "query": ("get_job_results", "get_job_status", "list_jobs"),
    "schedule": ("rerun_job", "schedule_tests"),
    "wait": ("wait_for_job",),
}
"""By module of the client, its public functions; what is in none is a type of an answer."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    room = next((room for room, names in _ROOMS.items() if name in names), "responses")
    return getattr(import_module(f"{__name__}.client.{room}"), name)


def __dir__() -> list[str]:
    return __all__
