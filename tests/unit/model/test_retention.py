"""Which logs and records are old enough to be thrown away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.model.retention import (
    Remains,
    Retention,
    logs_to_prune,
    records_to_prune,
)
from tests.support.properties import steady

DAY = 86400.0
NOW = 1_700_000_000.0

remains = st.lists(
    st.builds(
        Remains,
        job_id=st.uuids().map(str),
        ended_at=st.floats(NOW - 200 * DAY, NOW + 200 * DAY),
        log_bytes=st.integers(0, 2**31),
    ),
    unique_by=lambda job: job.job_id,
)


def _job(name: str, days_ago: float, megabytes: int = 1) -> Remains:
    return Remains(job_id=name, ended_at=NOW - days_ago * DAY, log_bytes=megabytes * 2**20)


def test_old_logs_go() -> None:
    """Thirty days after its end a job's log is not needed any more."""
    jobs = [_job("old", 31), _job("young", 29)]
    assert logs_to_prune(jobs, Retention(), NOW) == ["old"]


def test_too_many_bytes_go_the_oldest_first() -> None:
    """All logs together stay within their limit, and the newest stay."""
    jobs = [_job("new", 1, 600), _job("middle", 2, 400), _job("old", 3, 100)]
    assert logs_to_prune(jobs, Retention(), NOW) == ["old"]
    assert logs_to_prune(jobs, Retention(keep_logs_mb=700), NOW) == ["middle", "old"]


def test_old_and_surplus_records_go() -> None:
    """Records go after ninety days, or when there are too many."""
    jobs = [_job("new", 1), _job("middle", 2), _job("old", 91)]
    assert records_to_prune(jobs, Retention(), NOW) == ["old"]
    assert records_to_prune(jobs, Retention(keep_records=1), NOW) == ["middle", "old"]


@steady
@given(remains, st.integers(0, 5))
def test_the_newest_always_stay_longest(jobs: list[Remains], most: int) -> None:
    """No record goes that is newer than one that stays, and no more stay than may."""
    going = set(records_to_prune(jobs, Retention(keep_records=most), NOW))
    staying = [job for job in jobs if job.job_id not in going]
    assert len(staying) <= most
    assert all(
        job.ended_at <= min((each.ended_at for each in staying), default=job.ended_at)
        for job in jobs
        if job.job_id in going
    )


@steady
@given(remains)
def test_a_clock_that_was_set_back_prunes_nothing(jobs: list[Remains]) -> None:
    """What ended in the future by this clock is not old."""
    future = [job for job in jobs if job.ended_at > NOW]
    assert not set(records_to_prune(jobs, Retention(), NOW)) & {job.job_id for job in future}


def test_limits_come_from_the_settings() -> None:
    """What config.toml says holds, and what is no amount is passed over."""
    settings = {"keep_logs_days": 1.5, "keep_records": -1, "keep_logs_mb": "2", "x": 1}
    assert Retention.of(settings) == Retention(keep_logs_days=1.5)
