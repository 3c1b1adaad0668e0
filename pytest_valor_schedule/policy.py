"""Which queued jobs start now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_valor_schedule.job import Job


def in_order(queued: Sequence[Job]) -> list[Job]:
    """Return the queued jobs in the order in which they start: priority, then age.

    Args:
        queued: The scheduled jobs, oldest first.
    """
    return sorted(queued, key=lambda job: job.priority.rank)


def to_start(queued: Sequence[Job], running: int, places: int) -> list[Job]:
    """Return the jobs that start now.

    Args:
        queued: The scheduled jobs, oldest first.
        running: How many jobs run.
        places: How many may run at once.
    """
    return in_order(queued)[: max(0, places - running)]


def reason(ahead: int, running: Sequence[Job]) -> str:
    """Return why a job waits, for people.

    Args:
        ahead: How many queued jobs start before it.
        running: The jobs that run.
    """
    parts = [f"{job.job_id} to end" for job in running[:1]]
    if ahead:
        parts.append(f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead of it")
    return "waits for " + (" and ".join(parts) or "its start")
