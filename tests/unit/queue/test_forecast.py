"""Why a job waits, in words."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue import forecast
from pytest_valor_schedule.queue.demand import Running
from pytest_valor_schedule.queue.resources import Capacity
from pytest_valor_schedule.queue.store import JobStore
from tests.support.jobs import a_job

NOW = 1_700_000_000.0
GIB = 2**30


@pytest.mark.parametrize(
    ("workers", "ahead", "slots", "text"),
    [
        (2, 0, 3, "waits for 2 worker slots, 1 of 4 free; r ends in about 40 s"),
        (1, 2, 4, "waits for 1 worker slot, 0 of 4 free and 2 jobs ahead of it; r ends in about"),
        (1, 1, 2, "waits for 1 job ahead of it"),
        (1, 0, 2, None),
    ],
)
def test_a_reason_names_what_a_job_waits_for(
    workers: int, ahead: int, slots: int, text: str | None
) -> None:
    """In words, with the job that ends next."""
    left = Capacity(4, (Running("r", slots, NOW + 40),), math.inf)
    job = a_job(job_id="a", max_workers=workers, test_count=100)
    said = forecast.reason(job, ahead, left, NOW)
    assert said is None if text is None else (said or "").startswith(text)


def test_a_reason_names_the_memory_that_is_short() -> None:
    """As long as somebody else runs, who will give some back."""
    job = a_job(job_id="a", max_workers=1, test_count=9, estimated_memory_bytes=3 * GIB)
    left = Capacity(4, (Running("r", 1, NOW + 40),), 0.5 * GIB)
    said = "waits for 3.0 GiB of memory, 0.5 GiB free; r ends in about 40 s"
    assert forecast.reason(job, 0, left, NOW) == said
    assert forecast.reason(job, 0, Capacity(4, (), 0.5 * GIB), NOW) is None


def test_a_reason_promises_no_end_that_is_a_guess() -> None:
    """Of a job that runs for the first time nobody knows how long it takes."""
    left = Capacity(1, (Running("r", 1, NOW + 40, is_predictable=False),), math.inf)
    said = "waits for 1 worker slot, 0 of 1 free; r has some, and has not run before"
    assert forecast.reason(a_job(job_id="a"), 0, left, NOW) == said


def test_no_start_is_foretold_behind_a_guess(home: Home) -> None:
    """Neither behind a waiting job without history; before it, it is."""
    with JobStore(home) as store:
        for n, runs in enumerate((3, 3, 0, 3)):
            job = a_job(job_id=f"20261122-203015-00000{n}", estimated_from_runs=runs)
            assert store.add(dataclasses.replace(job, max_workers=64), ["t"], {})
        found = forecast.queue_positions(store, NOW).values()
    assert [place.starts_at is not None for place in found] == [True, True, True, False]


def test_a_reason_names_a_run_by_hand() -> None:
    """Nobody knows when that will end."""
    left = Capacity(1, (Running("7", 1, NOW + 40, name="a direct run in /p"),), math.inf)
    said = "waits for 1 worker slot, 0 of 1 free; a direct run in /p has some"
    assert forecast.reason(a_job(job_id="a"), 0, left, NOW) == said
