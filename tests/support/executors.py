"""Executors for tests of the dispatcher that need no process."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_valor_schedule.daemon.executor import LOCAL, RunnerState
from pytest_valor_schedule.model.job import Job


class ProcesslessExecutor:
    """An executor that starts nothing.

    Args:
        slots: How many worker slots it has.
        state: Of all its runners.

    Attributes:
        jobs: What it was told to start.
    """

    def __init__(self, slots: int, state: RunnerState) -> None:
        self.jobs: list[Job] = []
        self._slots = slots
        self._state = state

    def hosts(self) -> dict[str, int]:
        return {LOCAL: self._slots}

    def start(self, job: Job, attempt: int, host: str) -> str:
        self.jobs.append(job)
        return job.job_id

    def get_ready(self) -> None:
        pass

    def poll(self, refs: Iterable[str]) -> dict[str, RunnerState]:
        return dict.fromkeys(refs, self._state)

    def exit_code(self, ref: str) -> int | None:
        return None

    def cancel(self, ref: str) -> None:
        pass

    def clean_up(self, ref: str) -> None:
        pass

    def close(self) -> None:
        pass
