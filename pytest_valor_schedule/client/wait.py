"""Wait until a job has ended."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

from pytest_valor_schedule.client import job_answers
from pytest_valor_schedule.client.endpoint import errors_as_answers, open_index, store_over
from pytest_valor_schedule.client.responses import JobStatusResponse
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.model.job_terms import JobStatus

if TYPE_CHECKING:
    from pytest_valor_schedule.model.job import Job
    from pytest_valor_schedule.queue.store import JobStore

LOOK_AFTER_SECONDS = 1.0
"""Between two looks whether the queue is served."""
_POLL_SECONDS = 0.05


@errors_as_answers
def wait_for_job(
    job_id: str, timeout_seconds: float | None = None, *, results: bool = True
) -> JobStatusResponse:
    """Wait until a job has ended.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        timeout_seconds: How long to wait at most; None to wait until the end.
        results: As for `get_job_status`.

    Returns:
        What `get_job_status` returns, when the job has ended or the time is over.
    """
    seconds = math.inf
    if timeout_seconds is not None:
        from pytest_valor_schedule.model.run_options import check_amount

        seconds = check_amount(
            timeout_seconds, "timeout_seconds", "a number of seconds of 0 or more, or None"
        )
    with open_index() as index:
        full_id, ended = index.find_ended(job_id)
        if ended is None:
            wait_until_ended(store_over(index), full_id, seconds)
    return cast(JobStatusResponse, job_answers.job_status(full_id, results=results))


def wait_until_ended(store: JobStore, job_id: str, seconds: float) -> Job:
    """Return the job when it has ended or the time is over."""
    deadline = time.monotonic() + seconds
    look_after_at = 0.0
    changes = _JobChanges(store, job_id)
    while True:
        job = store.get(job_id)
        now = time.monotonic()
        if job.status.is_final or now >= deadline:
            return job
        if now >= look_after_at:
            look_after_at = now + LOOK_AFTER_SECONDS
            service.look_after(store)
            service.refuse_if_unserved(store, job)
        changes.wait(job, min(deadline, look_after_at))


class _JobChanges:
    """Notice that a job has changed for less than a look at the queue, as many may wait for it.

    The record is replaced when the job starts and when it ends, and then its runner ends too.
    """

    def __init__(self, store: JobStore, job_id: str) -> None:
        self._store = store
        self._record = store.home.record(job_id)
        self._stamp = self._look()

    def wait(self, job: Job, until: float) -> None:
        """Return at a change, or at a time of the monotonic clock.

        Args:
            job: As it stood after the last change.
            until: The time.
        """
        if self._await_runner(job, until):
            return
        stamp = self._stamp
        while stamp == self._stamp and (seconds := until - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, seconds))
            self._stamp = self._look()

    def _await_runner(self, job: Job, until: float) -> bool:
        """Wait for the end of a job's runner, which a session has before its turn.

        Where it has died or cannot be watched, wait a little.

        Returns:
            False, and at once, if the job waits and there is none yet.
        """
        from pytest_valor_schedule.process import processes
        from pytest_valor_schedule.process.identity import Identity

        runner = Identity.alive_in(self._store.claim(job.job_id))
        if runner is None and job.status is not JobStatus.RUNNING:
            return False
        seconds = max(0.0, until - time.monotonic())
        if runner is None or not processes.await_end_of(runner, seconds):
            time.sleep(min(_POLL_SECONDS, seconds))
        return True

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self._record.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns
