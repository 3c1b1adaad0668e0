"""How much memory there is, and how much processes use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_status
from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    record_of,
    results_of,
    run_pytest,
    scheduled_id,
)
from tests.support.waiting import wait_until

MIB = 2**20


@pytest.mark.home_in_use
@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_peak_of_a_job_is_recorded_and_expected_the_next_time(
    project: Path, home: Home
) -> None:
    """In the record, in the status while it runs, and in the estimate of the same job."""
    filling = "    block = b'x' * 2**20 * 100\n    while"
    Path("test_gated.py").write_text(GATED.replace("    while", filling))
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("memory_mb", 0) > 100,
        "the status shows the memory",
    )
    open_gate()
    results_of(job_id)
    assert record_of(home, job_id)["peak_memory_bytes"] > 100 * MIB
    again = record_of(home, scheduled_id(run_pytest("--schedule")))
    assert again["estimated_memory_bytes"] > 100 * MIB


@pytest.mark.home_in_use
def test_the_peak_of_a_short_job_is_known_too(project: Path, home: Home) -> None:
    """Also of a test that is over before anybody looks."""
    Path("test_short.py").write_text("def test_short(): b'x' * 2**20 * 200")
    job_id = scheduled_id(run_pytest("--schedule"))
    results_of(job_id)
    assert record_of(home, job_id)["peak_memory_bytes"] > 200 * MIB


def test_a_job_waits_for_memory_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that do not fit together run one after the other; the first may always start."""
    monkeypatch.setenv("VALOR_SCHEDULE_MEMORY_RESERVE_MB", str(2**40))
    Path("test_gated.py").write_text(GATED)
    first = scheduled_id(run_pytest("--schedule", "--max-workers", "1"))
    wait_until(lambda: is_running(first), "the first runs")
    second = run_pytest("--schedule", "--max-workers", "1")
    assert "waits for 0.1 GiB of memory, 0.0 GiB free" in second.stdout
    assert not is_running(scheduled_id(second))
    open_gate()
    begun = [results_of(job_id)["started_at"] for job_id in (first, scheduled_id(second))]
    assert begun[1] > results_of(first)["completed_at"]
