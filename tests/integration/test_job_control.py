"""Holding, releasing and re-prioritising jobs, and pausing the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_valor_schedule import (
    cancel_job,
    get_job_status,
    hold_job,
    list_jobs,
    pause_queue,
    release_job,
    resume_queue,
    set_priority,
)
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from tests.support.scheduled import (
    outcomes_of,
    record_of,
    run_pytest,
    run_tool,
    schedule,
    scheduled_id,
)
from tests.support.waiting import wait_until

ONE_TEST = "def test_one(): pass"


@pytest.fixture
def paused(home: Home, project: Path) -> Home:
    """A home in which nothing starts, and a project with one test."""
    Path("test_a.py").write_text(ONE_TEST)
    assert pause_queue() == {"paused": True}
    return home


def test_a_paused_queue_starts_nothing_until_it_is_resumed(paused: Home) -> None:
    """Jobs are accepted and told why they wait, nobody keeps watch over them, and then they run."""
    said = run_pytest("--schedule")
    job_id = scheduled_id(said)
    assert "because the queue is paused" in said.stdout
    wait_until(lambda: not service.is_running(paused), "nobody serves what cannot start")
    status = get_job_status(job_id)
    assert (status["status"], "estimated_start" in status) == ("scheduled", False)
    assert "paused" in list_jobs()["jobs"][0]["reason"]
    assert run_tool("resume").stdout == "jobs start again\n"
    assert set(outcomes_of(job_id).values()) == {"passed"}


def test_a_held_job_lets_others_go_ahead(paused: Home) -> None:
    """It keeps its place, says why it waits, and starts when it is released."""
    first, second = (schedule() for _ in range(2))
    assert run_tool("hold", first).stdout == f"{first} held\n"
    assert record_of(paused, first)["held"] is True
    assert resume_queue() == {"paused": False}
    assert set(outcomes_of(second).values()) == {"passed"}
    status = get_job_status(first)
    assert status["status"] == "scheduled"
    assert "because it is held" in status["reason"]
    wait_until(lambda: not service.is_running(paused), "nobody serves what cannot start")
    answer = release_job(first[-6:])
    assert answer == {"job_id": first, "status": "scheduled", "held": False, "priority": "normal"}
    assert set(outcomes_of(first).values()) == {"passed"}


@pytest.mark.usefixtures("one_slot")
def test_priority_can_be_changed_while_a_job_waits(paused: Home) -> None:
    """The queue and the record follow at once."""
    first, second = (schedule() for _ in range(2))
    assert run_tool("priority", second, "high").stdout == f"{second} high\n"
    assert record_of(paused, second)["priority"] == "high"
    assert [get_job_status(each)["queue_position"] for each in (first, second)] == [2, 1]
    for job_id in (first, second):
        cancel_job(job_id)
    resume_queue()


@pytest.mark.usefixtures("no_dispatcher")
def test_what_cannot_be_changed_is_said(ended: str) -> None:
    """An ended job, an unknown one and a wrong priority get a sentence each."""
    for answer in (hold_job(ended), release_job(ended), set_priority(ended, "low")):
        assert "does not wait any more: it is completed" in answer["error"]
        assert answer["status"] == "completed"
    assert "There is no job" in hold_job("nope")["error"]
    assert "priority is 'urgent'" in set_priority(ended, "urgent")["error"]  # type: ignore[arg-type]
    assert run_tool("priority", ended, "urgent").returncode == 2
    assert run_tool("hold").returncode == 2
