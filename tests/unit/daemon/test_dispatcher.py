"""Start what waits, one step of the dispatcher at a time."""

from __future__ import annotations

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon.dispatcher import Dispatcher
from pytest_valor_schedule.daemon.executor import RunnerState
from pytest_valor_schedule.model.job_terms import JobStatus, Priority
from pytest_valor_schedule.queue.store import JobStore
from tests.support.executors import ProcesslessExecutor
from tests.support.jobs import a_job

NOW = 1_700_000_100.0


def test_priority_beats_age(home: Home) -> None:
    """Of the jobs that wait the high one starts first, then normal, then low, each by itself."""
    executor = ProcesslessExecutor(1, RunnerState.RUNNING)
    with JobStore(home) as store:
        dispatcher = Dispatcher(store, executor)
        ids = {}
        for number, priority in enumerate((Priority.LOW, Priority.NORMAL, Priority.HIGH)):
            ids[priority] = f"20261122-20301{number}-000000"
            job = a_job(job_id=ids[priority], priority=priority, created_at=NOW + number)
            store.add(job, ["a"], {})
        for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW):
            dispatcher.step(NOW + 10)
            dispatcher.step(NOW + 10)
            assert executor.jobs[-1].priority == priority
            store.change(ids[priority], JobStatus.SCHEDULED, status=JobStatus.RUNNING)
            store.change(ids[priority], JobStatus.RUNNING, status=JobStatus.COMPLETED)
    assert [job.priority for job in executor.jobs] == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
