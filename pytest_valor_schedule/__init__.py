"""One test queue for the machine: schedule pytest runs in the background, keep every result.

Everything is imported when it is first used, because pytest imports this package at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_valor_schedule.version import __version__

if TYPE_CHECKING:
    from pytest_valor_schedule.client.api import (
        cancel_job,
        get_job_results,
        get_job_status,
        list_jobs,
        schedule_tests,
        wait_for_job,
    )
    from pytest_valor_schedule.client.queue_control import (
        hold_job,
        pause_queue,
        release_job,
        resume_queue,
        set_priority,
    )
    from pytest_valor_schedule.client.reruns import compare_jobs, rerun_job
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pytest_valor_schedule.client import api, queue_control, reruns, responses

    homes = (api, queue_control, reruns, responses)
    return next(getattr(each, name) for each in homes if hasattr(each, name))


def __dir__() -> list[str]:
    return __all__
