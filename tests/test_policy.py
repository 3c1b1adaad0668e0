"""Which job starts next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs import a_job
from properties import steady

from pytest_valor_schedule import policy
from pytest_valor_schedule.job import Job, Priority


def _queue(*priorities: Priority) -> list[Job]:
    return [a_job(job_id=str(age), priority=each) for age, each in enumerate(priorities)]


def _ids(jobs: list[Job]) -> list[str]:
    return [job.job_id for job in jobs]


def test_a_more_urgent_job_starts_first_however_young() -> None:
    """Priority comes before age."""
    queue = _queue(Priority.LOW, Priority.NORMAL, Priority.HIGH)
    assert _ids(policy.in_order(queue)) == ["2", "1", "0"]


@steady
@given(st.lists(st.sampled_from(Priority)))
def test_equally_urgent_jobs_start_in_the_order_of_their_age(priorities: list[Priority]) -> None:
    """The order keeps every job once, sorted by priority and then by age."""
    ordered = policy.in_order(_queue(*priorities))
    keys = [(job.priority.rank, int(job.job_id)) for job in ordered]
    assert keys == sorted(keys)
    assert len(ordered) == len(priorities)


@pytest.mark.parametrize(
    ("running", "places", "started"),
    [(0, 1, ["1"]), (0, 2, ["1", "0"]), (1, 2, ["1"]), (1, 1, []), (3, 1, []), (0, 9, ["1", "0"])],
)
def test_as_many_jobs_start_as_there_are_free_places(
    running: int, places: int, started: list[str]
) -> None:
    """Running jobs take up places, and the most urgent queued jobs get the rest."""
    queue = _queue(Priority.NORMAL, Priority.HIGH)
    assert _ids(policy.to_start(queue, running, places)) == started


@pytest.mark.parametrize(
    ("ahead", "running", "text"),
    [
        (0, ["r1", "r2"], "waits for r1 to end"),
        (1, [], "waits for 1 job ahead of it"),
        (2, ["r1"], "waits for r1 to end and 2 jobs ahead of it"),
        (0, [], "waits for its start"),
    ],
)
def test_a_reason_names_what_a_job_waits_for(ahead: int, running: list[str], text: str) -> None:
    """People read which job runs and how many come first."""
    assert policy.reason(ahead, [a_job(job_id=each) for each in running]) == text
