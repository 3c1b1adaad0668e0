"""Decide which job may start, as the one process per home that does. It owns no job."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_valor_schedule._util.log import fault_text, warning
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import aging_seconds, amount
from pytest_valor_schedule.daemon import job_end, outcomes, service
from pytest_valor_schedule.daemon.executor import (
    LOCAL,
    Executor,
    LocalExecutor,
    RunnerState,
    reference,
)
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.daemon.session_listener import SessionListener
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.process import startup
from pytest_valor_schedule.process.death_pipe import has_ended
from pytest_valor_schedule.queue import policy, pruning
from pytest_valor_schedule.queue.resources import capacity
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.queue.wakeup import Wakeup

NAME = "valor-dispatch"
_LOOK_SECONDS = 0.25  # at the latest, if nobody wakes it
_QUIET_LOOK_SECONDS = 1.0
_LOCK_PATIENCE_SECONDS = 1.0  # a submitter's look at the lock takes far less
_PAUSE_AFTER_ERROR_SECONDS = 0.5
_QUIET_SECONDS = 0.5
_MOST_ATTEMPTS = 3
_MOST_TROUBLE_SECONDS = 3600.0


class Dispatcher:
    """Looks at the queue and at the runners, one step at a time."""

    def __init__(self, store: JobStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor
        self._starting: dict[str, int] = {}  # job id -> attempt that has not claimed its job yet
        self._fault: Exception | None = None

    def step(self, now: float) -> bool:
        """Do what is due.

        Args:
            now: Seconds since the epoch.

        Returns:
            Whether any job is running, or is queued and may start.

        Raises:
            Exception: the first fault that one of the jobs had, when all the others are served.
        """
        self._fault = None
        self._end_orphans(now)
        queued = self._store.queue()
        self._watch_starts(queued, now)
        self._start_jobs(queued, now)
        if self._fault is not None:
            raise self._fault
        running = bool(self._starting) or bool(self._store.jobs(JobStatus.RUNNING))
        return running or self._store.anything_may_start(queued)

    @contextlib.contextmanager
    def _each_for_itself(self) -> Iterator[None]:
        """Keep a fault that one job has from the others."""
        try:
            yield
        except Exception as error:
            self._fault = self._fault or error

    def _end_orphans(self, now: float) -> None:
        for job in self._store.jobs(JobStatus.RUNNING):
            ref = reference(job, job.attempt)
            with self._each_for_itself():
                if self._executor.poll([ref])[ref] in (RunnerState.ENDED, RunnerState.LOST):
                    self._end_orphan(job.job_id, ref, now)

    def _end_orphan(self, job_id: str, ref: str, now: float) -> None:
        job = self._store.get(job_id)  # once more: a runner ends its job before it ends itself
        if job.status is JobStatus.RUNNING:
            with self._each_for_itself():
                self._executor.clean_up(ref)
            cause = outcomes.runner_end(self._executor.exit_code(ref))
            end = JobEnd(completed_at=now, junit_path=job.junit_path, cause=cause)
            job_end.complete(self._store, job, end)

    def _watch_starts(self, queued: list[Job], now: float) -> None:
        """Notice runners that claimed their job, and those that ended without."""
        unclaimed = {job.job_id: job for job in queued}
        for job_id, attempt in list(self._starting.items()):
            job = unclaimed.get(job_id)
            if job is None:
                del self._starting[job_id]
            elif self._has_ended(job, attempt):
                del self._starting[job_id]
                with self._each_for_itself():
                    self._give_up_on(job_id, now)

    def _has_ended(self, job: Job, attempt: int) -> bool:
        ref = reference(job, attempt)
        return self._executor.poll([ref])[ref] is not RunnerState.RUNNING

    def _give_up_on(self, job_id: str, now: float) -> None:
        job = self._store.get(job_id)
        if job.status is JobStatus.SCHEDULED and job.attempt >= _MOST_ATTEMPTS:
            text = f"The runner could not start; {self._store.home.dispatcher_log} tells why."
            end = JobEnd(completed_at=now, outcome=Outcome.ERROR, explanation=text)
            job_end.complete(self._store, job, end)

    def _start_jobs(self, queued: list[Job], now: float) -> None:
        if self._store.home.pause_marker.exists() or self._store.home.is_full():
            return  # on a full disk its results could not be kept
        for job, workers in self._to_start(queued, now):
            # The attempt, and with it the runner's reference, is kept before the start.
            attempt = job.attempt + 1
            if self._store.change(
                job.job_id, JobStatus.SCHEDULED, attempt=attempt, workers=workers
            ):
                self._starting[job.job_id] = attempt
                try:
                    self._executor.start(job, attempt, LOCAL)
                except OSError as error:  # counts as an attempt that ended
                    warning(f"{job.job_id}: The runner could not be started: {error}")

    def _to_start(self, queued: list[Job], now: float) -> list[policy.Start]:
        """Return the jobs that the policy starts now."""
        idle = [job for job in queued if job.job_id not in self._starting and not job.held]
        if not idle:
            return []
        starting = [job for job in queued if job.job_id in self._starting]
        active = [*self._store.jobs(JobStatus.RUNNING), *starting]
        free = capacity(self._store, self._executor.hosts()[LOCAL], active, now)
        aging = aging_seconds(self._store.home)
        return policy.to_start(idle, free.running, free.total, now, aging, free.memory)


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """Remembers a fault of the queue that lasts."""

    text: str = ""
    since: float = 0.0
    bearable: bool = True

    def continued(self, text: str, now: float) -> Trouble:
        """Return the trouble with another error in it, and log what is new about it."""
        if text != self.text:
            warning(f"dispatcher: {text}")
        since = self.since if self.text else now
        return Trouble(text, since, bearable=now - since < _MOST_TROUBLE_SECONDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Watcher:
    """Describes the parent of a dispatcher.

    Attributes:
        pid: Its process.
        death_pipe: A descriptor that reaches its end when it dies.
    """

    pid: int
    death_pipe: int

    @property
    def dead(self) -> bool:
        """Whether it has died, so that nobody would notice if this process did."""
        return has_ended(self.death_pipe)


def _serve(home: Home, watcher: Watcher) -> None:
    """Look after the queue until there has been nothing to do for a while, or nobody watches."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(JobStore(home))
        wakeup = stack.enter_context(contextlib.closing(Wakeup(home.wakeup_pipe)))
        with contextlib.suppress(ScheduleError):
            store.drop_environments(time.time())
        executor = LocalExecutor(home, store, watcher.pid)
        listener = stack.enter_context(contextlib.closing(SessionListener(home)))
        dispatcher = Dispatcher(store, executor)
        patience = amount("idle_seconds", home)
        idle_since = time.monotonic()
        trouble = Trouble()
        lock_file = _lock_file(home)
        while lock_file and _lock_file(home) == lock_file:  # else the home was thrown away
            calls = listener.calls()  # first, because somebody waits for an answer
            executor.start_sessions(calls)
            busy, trouble = _step(dispatcher, trouble)
            if busy or calls:
                idle_since = time.monotonic()
            idle = time.monotonic() - idle_since
            if watcher.dead or (not busy and idle >= patience):
                break
            quiet = idle >= _QUIET_SECONDS
            if quiet:
                executor.get_ready()
            seconds = _QUIET_LOOK_SECONDS if quiet else _LOOK_SECONDS
            seconds = seconds if busy else min(seconds, patience)
            wakeup.wait(seconds, [watcher.death_pipe, *listener.handles])
        executor.close()
        if lock_file and _lock_file(home) == lock_file and not watcher.dead:
            pruning.prune_quietly(store, time.time())


def _step(dispatcher: Dispatcher, trouble: Trouble) -> tuple[bool, Trouble]:
    """Return whether there is anything to do, or may be when what fails now has passed."""
    try:
        return dispatcher.step(time.time()), Trouble()
    except Exception as error:  # a full disk, say: it may pass, and others may help
        trouble = trouble.continued(fault_text(error), time.monotonic())
        time.sleep(_PAUSE_AFTER_ERROR_SECONDS)
        return trouble.bearable, trouble


def _lock_file(home: Home) -> int | None:
    """Return what tells the lock file of the dispatcher from a later one of its name."""
    try:
        return home.dispatcher_lock.stat().st_ino
    except OSError:
        return None


def _anything_to_do(home: Home) -> bool:
    if not home.schedule.is_dir():
        return False
    with JobStore(home) as store:
        return store.anything_to_do()


def main(root: str, starting: list[int], watcher: Watcher) -> bool:
    """Serve a home until there is nothing to do.

    Args:
        root: The folder of the home.
        starting: The descriptor of the lock that keeps others from starting one too, if any.
        watcher: The parent of this process.

    Returns:
        Whether the watcher has died, and so nobody would notice if this process did.
    """
    startup.set_name(NAME)
    startup.ignore_interrupts()
    startup.become_subreaper()
    try:
        _serve_alone(Home(Path(root)), starting, watcher)
    except ScheduleError as error:  # the queue cannot be opened; it is tried again a few times
        warning(f"dispatcher: {error}")
        if not watcher.dead:
            sys.exit(1)
    return watcher.dead


def _serve_alone(home: Home, starting: list[int], watcher: Watcher) -> None:
    from filelock import FileLock, Timeout  # here, because it takes long and submitters come by

    lock = FileLock(home.dispatcher_lock, mode=0o600, thread_local=False)
    while home.schedule.is_dir():  # else the lock would make it anew
        with contextlib.suppress(Timeout):  # another one serves, or did until now
            lock.acquire(timeout=_LOCK_PATIENCE_SECONDS, poll_interval=0.01)
        while starting:
            os.close(starting.pop())
        if lock.is_locked:
            try:
                _serve(home, watcher)
            finally:
                lock.release()
        elif service.is_running(home):
            return
        if watcher.dead or not _anything_to_do(home):
            return
