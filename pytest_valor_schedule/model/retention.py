"""Decide what is old enough to be thrown away. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_valor_schedule.model.run_options import is_amount

DAY_SECONDS = 86400.0
_MEGABYTE = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept; the names are those of config.toml.

    Attributes:
        keep_logs_days: Output and event logs of a job that ended longer ago go.
        keep_logs_mb: Those of the oldest jobs go until all together have no more MiB.
        keep_records: The most records of jobs.
        keep_records_days: The record of a job that ended longer ago goes.
        keep_history_days: What was learned of a test or a kind of run that was not seen for longer
            goes.
    """

    keep_logs_days: float = 30
    keep_logs_mb: float = 1024
    keep_records: float = 1000
    keep_records_days: float = 90
    keep_history_days: float = 180

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Retention:
        """Return the retention that config.toml asks for; what is no number stays the default."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: settings[name] for name in names if is_amount(settings.get(name))})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What is on disk of a job that has ended.

    Attributes:
        job_id: Its id.
        ended_at: Seconds since the epoch.
        log_bytes: Size of its output and its event logs.
    """

    job_id: str
    ended_at: float
    log_bytes: int = 0


def logs_to_prune(jobs: Sequence[Remains], retention: Retention, now: float) -> list[str]:
    """Return the ids of the jobs whose output and event logs go."""
    job_ids, total = [], 0
    for job in _newest_first(jobs):
        total += job.log_bytes
        old = now - job.ended_at >= retention.keep_logs_days * DAY_SECONDS
        if old or total > retention.keep_logs_mb * _MEGABYTE:
            job_ids.append(job.job_id)
    return job_ids


def records_to_prune(jobs: Sequence[Remains], retention: Retention, now: float) -> list[str]:
    """Return the ids of the jobs whose records go."""
    return [
        job.job_id
        for number, job in enumerate(_newest_first(jobs), 1)
        if number > retention.keep_records
        or now - job.ended_at >= retention.keep_records_days * DAY_SECONDS
    ]


def _newest_first(jobs: Sequence[Remains]) -> list[Remains]:
    return sorted(jobs, key=lambda job: (job.ended_at, job.job_id), reverse=True)
