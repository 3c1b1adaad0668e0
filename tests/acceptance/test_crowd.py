"""Many who submit and wait, and a long queue: nobody is refused, and the cost is bounded."""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from pytest_valor_schedule.client.wait import wait_until_ended
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import job_end
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, Priority
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import forecast, policy
from pytest_valor_schedule.queue.job_row import JobRow, insert
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.text import queue_view
from tests.support.jobs import a_job
from tests.support.waiting import DEADLINE_SECONDS

NOW = 1_700_000_000.0
JOB_ID = a_job().job_id


@pytest.fixture
def store(home: Home, no_dispatcher: None) -> Iterator[JobStore]:
    """A queue that nobody serves."""
    with JobStore(home) as store:
        yield store
        with store.database.transaction() as connection:
            connection.execute("DELETE FROM jobs")


def _queue(count: int) -> list[Job]:
    return [
        a_job(job_id=f"20261122-203015-{n:06x}", max_workers=1, created_at=NOW + n)
        for n in range(count)
    ]


def _calls(action: Callable[[], object]) -> int:
    """Return how many calls of Python functions something takes."""
    profile = cProfile.Profile()
    profile.runcall(action)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_nobody_gives_up_while_others_get_on(store: JobStore) -> None:
    """Whoever waits to write may wait for longer than for one who never lets go."""
    assert store.add(a_job(), ["a"], {})
    patience = 1.5

    def write() -> str:
        with JobStore(store.home) as other, other.database.transaction(patience):
            return "written"

    def keep_busy(number: int) -> None:
        with store.database.transaction() as connection:
            connection.execute("UPDATE jobs SET progress = ?", (str(number),))
            Event().wait(patience / 5)

    with ThreadPoolExecutor(1) as pool:
        with store.database.transaction():
            waiting = pool.submit(write)
            Event().wait(patience / 5)
        for number in range(6):  # what is free between them is too short for who sleeps
            keep_busy(number)
        assert waiting.result() == "written"


def test_a_record_is_written_before_others_have_to_wait(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes long, all the way to the disk, is done while the queue is free."""
    free = []

    def sync(handle: int) -> None:
        with JobStore(store.home) as other, other.database.transaction(patience=0.0):
            free.append(handle)

    monkeypatch.setattr(os, "fsync", sync)
    assert store.add(a_job(), ["a"], {})
    assert len(free) == 2  # of the environment and of the record
    assert [path.name for path in store.home.results.iterdir()] == [f"{JOB_ID}.json"]


def test_a_forecast_is_bounded() -> None:
    """Thousands that wait behind do not make it dearer, and those in front are foretold as ever."""
    few, many = _queue(50), _queue(3000)
    starts = policy.forecast(many, [], 2, NOW)
    assert {job.job_id for job in few} <= starts.keys()
    assert len(starts) < 200
    assert policy.forecast(few, [], 2, NOW).items() <= starts.items()
    assert _calls(lambda: policy.forecast(many, [], 2, NOW)) < 30 * len(many)


def test_a_forecast_looks_at_what_comes_first() -> None:
    """That is what is urgent, however young it is."""
    urgent = a_job(job_id="urgent", priority=Priority.HIGH, created_at=NOW + 1500)
    assert policy.forecast([*_queue(1500), urgent], [], 2, NOW)["urgent"] == NOW


def test_a_place_far_back_is_told(store: JobStore) -> None:
    """With its position and what it waits for, though not with a time."""
    jobs = _queue(300)
    with store.database.transaction() as connection:
        for job in jobs:
            insert(connection, JobRow(job=job, tests=["a"]))
    found = forecast.queue_positions(store, NOW, [jobs[5].job_id, jobs[-1].job_id])
    assert found.keys() == {jobs[5].job_id, jobs[-1].job_id}
    assert found[jobs[5].job_id].starts_at is not None
    last = forecast.queue_position(store, jobs[-1], NOW)
    assert (last.position, last.starts_at) == (300, None)
    assert last.reason == "waits for 299 jobs ahead of it"


def test_a_picture_is_bounded() -> None:
    """However many wait, the first are shown and the others counted."""
    job = {"job_id": JOB_ID, "status": "scheduled", "priority": "normal", "test_count": 1}
    jobs = [{**job, "queue_position": number} for number in range(2000, 0, -1)]
    lines = queue_view.frame(jobs, [], NOW, 80)
    assert len(lines) < 30
    assert any(" 1st, normal" in line for line in lines)
    assert lines[-1] == "and 1980 more that wait"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The looks at a job in the queue."""
    found: list[str] = []
    get = JobStore.get

    def counted(self: JobStore, job_id: str) -> Job:
        found.append(job_id)
        return get(self, job_id)

    monkeypatch.setattr(JobStore, "get", counted)
    return found


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("status", [JobStatus.SCHEDULED, JobStatus.RUNNING])
def test_who_waits_does_not_ask_the_queue_all_the_time(
    store: JobStore, looks: list[str], status: JobStatus
) -> None:
    """The record, and the process of the runner, tell of a change."""
    own = Identity.of(os.getpid())
    assert own is not None
    assert store.add(a_job(), ["a"], {})
    store.change(JOB_ID, JobStatus.SCHEDULED, status=status, claim=own.to_text())
    assert wait_until_ended(store, JOB_ID, 1.5).status is status
    assert len(looks) <= 4


def test_who_waits_for_a_dead_runner_sees_the_end(store: JobStore) -> None:
    """Somebody else ends its job, then."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as runner:
        claim = Identity.of(runner.pid)
        assert claim is not None
        assert store.add(a_job(), ["a"], {})
        store.change(JOB_ID, JobStatus.SCHEDULED, status=JobStatus.RUNNING, claim=claim.to_text())

        def wait() -> Job:
            with JobStore(store.home) as other:
                return wait_until_ended(other, JOB_ID, DEADLINE_SECONDS)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            runner.communicate()
            assert not waiting.done()
            ending = JobEnd(completed_at=NOW, outcome=Outcome.CANCELLED)
            assert job_end.complete(store, store.get(JOB_ID), ending)
            assert waiting.result().status is JobStatus.CANCELLED
