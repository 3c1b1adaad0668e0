"""Start what waits, one step of the dispatcher at a time."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon.dispatcher import Dispatcher
from pytest_valor_schedule.daemon.executor import LOCAL, RunnerState
from pytest_valor_schedule.model.job import Job, JobStatus, Priority
from pytest_valor_schedule.queue.store import JobStore
from tests.support.jobs import a_job

NOW = 1_700_000_100.0


class OneSlot:
    """An executor with one slot, which keeps what it was told to start."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def hosts(self) -> dict[str, int]:
        return {LOCAL: 1}

    def start(self, job: Job, attempt: int, host: str) -> str:
        self.started.append(job.priority)
        return job.job_id

    def get_ready(self) -> None:
        pass

    def poll(self, refs: Iterable[str]) -> dict[str, RunnerState]:
        return dict.fromkeys(refs, RunnerState.RUNNING)

    def exit_code(self, ref: str) -> int | None:
        return None

    def cancel(self, ref: str) -> None:
        pass

    def clean_up(self, ref: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_priority_beats_age(home: Home) -> None:
    """Of the jobs that wait the high one starts first, then normal, then low, each by itself."""
    executor = OneSlot()
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
            assert executor.started[-1] == priority
            store.change(ids[priority], JobStatus.SCHEDULED, status=JobStatus.RUNNING)
            store.change(ids[priority], JobStatus.RUNNING, status=JobStatus.COMPLETED)
    assert executor.started == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
