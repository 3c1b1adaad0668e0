"""Jobs to test with."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Priority

_JOB = Job(
    job_id="20261122-203015-4f9a2c",
    specification="pytest tests",
    launcher=("/usr/bin/python", "-m", "pytest"),
    arguments=("tests",),
    cwd="/project",
    rootdir="/project",
    interpreter="/usr/bin/python",
    priority=Priority.NORMAL,
    max_workers=4,
    timeout_minutes=10,
    test_count=412,
    estimated_seconds=70.0,
    created_at=1_700_000_000.0,
)


def a_job(**changes: Any) -> Job:
    """Return a scheduled job, with some fields changed."""
    return dataclasses.replace(_JOB, **changes)
