"""Waiting for the end of a job, and bringing it about."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import JobStatusError, StoreError
from pytest_valor_schedule.model.job import Job, JobStatus, Outcome
from pytest_valor_schedule.process import processes
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.process.kill import marked
from pytest_valor_schedule.queue import wakeup
from pytest_valor_schedule.queue.store import JobStore

_POLL_SECONDS = 0.05
_LOOK_AFTER_SECONDS = 1.0
_CANCEL_PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def open_queue() -> Iterator[JobStore]:
    """Give the queue, and make sure that somebody looks after whatever in it has not ended."""
    with JobStore(Home.find(os.environ)) as store:
        service.look_after(store)
        yield store


def ended(job: Job) -> Job:
    """Return a job that has ended, and raise JobStatusError for another."""
    if not job.status.is_final:
        raise JobStatusError(
            f"Job {job.job_id} has not ended: it is {job.status}; wait for it, or cancel it.",
            status=job.status,
        )
    return job


def wait(store: JobStore, job_id: str, seconds: float) -> Job:
    """Return the job when it has ended or the time is over."""
    deadline = time.monotonic() + seconds
    look_after_at = 0.0
    signs = Signs(store, job_id)
    while True:
        job = store.get(job_id)
        now = time.monotonic()
        if job.status.is_final or now >= deadline:
            return job
        if now >= look_after_at:
            look_after_at = now + _LOOK_AFTER_SECONDS
            service.look_after(store)
            service.refuse_if_unserved(store, job)
        signs.wait(job, min(deadline, look_after_at))


class Signs:
    """The signs that a job has changed; many may wait for them, and a look at the queue costs more.

    Its record is replaced when it starts and when it ends, and then its runner ends too.
    """

    def __init__(self, store: JobStore, job_id: str) -> None:
        self._store = store
        self._record = store.home.record(job_id)
        self._stamp = self._look()

    def wait(self, job: Job, until: float) -> None:
        """Return at a sign, or at a time of the monotonic clock.

        Args:
            job: As it stood after the last sign.
            until: The time.
        """
        if job.status is JobStatus.RUNNING:
            self._await_runner(job.job_id, until)
            return
        stamp = self._stamp
        while stamp == self._stamp and (left := until - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, left))
            self._stamp = self._look()

    def _await_runner(self, job_id: str, until: float) -> None:
        """Wait for the end of a job's runner; a little, where it has died or cannot be watched."""
        runner = Identity.alive_in(self._store.claim(job_id))
        left = max(0.0, until - time.monotonic())
        if runner is None or not processes.await_end_of(runner, left):
            time.sleep(min(_POLL_SECONDS, left))

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._record.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def cancel(store: JobStore, job: Job) -> Job:
    """Take a job out of the queue, or end it if it runs; return it as cancelled.

    Raises:
        JobStatusError: if it has ended already, or does not end in time.
    """
    from pytest_valor_schedule.daemon import job_end  # here, because a look needs none of it
    from pytest_valor_schedule.daemon.job_end import JobEnd

    _refuse_if_ended(job)
    if job.status is JobStatus.SCHEDULED:
        text = "Cancelled on request before it started."
        ending = JobEnd(completed_at=time.time(), outcome=Outcome.CANCELLED, explanation=text)
        job = job_end.complete(store, job, ending) or store.get(job.job_id)
        wakeup.wake(store.home.wakeup_pipe)
    if job.status is JobStatus.RUNNING:
        job = _cancel_running(store, job)
    if job.status is not JobStatus.CANCELLED:
        _refuse_if_ended(job)
    return job


def change_waiting(store: JobStore, job: Job, **changes: Any) -> Job:
    """Change a job that has not started, in the queue and in its record.

    Raises:
        JobStatusError: if it does not wait any more.
    """
    changed = store.change(job.job_id, JobStatus.SCHEDULED, **changes)
    if changed is None:
        now = store.get(job.job_id)
        raise JobStatusError(
            f"Job {job.job_id} does not wait any more: it is {now.status}; only a scheduled job "
            "can be held, released, or given another priority.",
            status=now.status,
        )
    store.publish_if_scheduled(job.job_id)
    return changed


def pause(home: Home) -> None:
    """Let no further job start."""
    _with_home(home, lambda: home.pause_marker.touch(mode=0o600))


def resume(home: Home) -> None:
    """Let jobs start again."""
    _with_home(home, lambda: home.pause_marker.unlink(missing_ok=True))


def _with_home(home: Home, action: Callable[[], None]) -> None:
    try:
        home.make()
        action()
    except OSError as error:
        raise StoreError(f"{home.pause_marker} cannot be changed ({error.strerror}).") from error


def _refuse_if_ended(job: Job) -> None:
    if job.status.is_final:
        raise JobStatusError(
            f"Job {job.job_id} has ended already ({job.outcome}); nothing is left to cancel.",
            status=job.status,
        )


def _cancel_running(store: JobStore, job: Job) -> Job:
    try:
        store.request_cancel(job.job_id)
    except StoreError:
        if not store.home.is_full():
            raise
        # It may be what fills the disk, where an empty file finds its place all the same.
        store.home.cancel_marker(job.job_id).touch(mode=0o600)
    deadline = time.monotonic() + _CANCEL_PATIENCE_SECONDS
    while not (after := wait(store, job.job_id, _LOOK_AFTER_SECONDS)).status.is_final:
        _refuse_if_unrecorded(store.home, after)
        if time.monotonic() >= deadline:
            raise JobStatusError(
                f"Job {job.job_id} was told to end but has not yet; ask for its status again.",
                status=after.status,
            )
    return after


def _refuse_if_unrecorded(home: Home, job: Job) -> None:
    """Raise JobStatusError if a job has no process any more, and waits for room for its record."""
    if home.is_full() and all(value != job.job_id for _, value in marked(JOB_ID_VARIABLE)):
        raise JobStatusError(
            f"No process of job {job.job_id} is left, but the disk of {home.root} is full, and its "
            "end cannot be recorded; make room, for example with `valor-schedule prune`, and it is "
            "cancelled.",
            status=job.status,
        )
