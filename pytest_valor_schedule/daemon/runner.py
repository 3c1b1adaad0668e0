"""Run one job: claim it with its slots, run its rounds, and write its end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pytest_valor_schedule._util import log
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import job_end, service
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.daemon.rounds import Rounds
from pytest_valor_schedule.daemon.session import Session
from pytest_valor_schedule.errors import ScheduleError, UnknownJobError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Priority
from pytest_valor_schedule.process import startup
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue import wakeup
from pytest_valor_schedule.queue.claim import claim, own_claim, take_slots
from pytest_valor_schedule.queue.job_row import JobRow
from pytest_valor_schedule.queue.slots import SlotLease
from pytest_valor_schedule.queue.store import JobStore

PROCESS_NAME = "valor-runner"
SESSION_NAME = "valor-session"
"""What one is called that waits for the turn of its job."""
_RETRY_SECONDS = 1.0
_END_PATIENCE_SECONDS = 3600.0
_NICE_OF_LOW = 10


def be_runner() -> None:
    """Have this process outlive whoever asks for a job, and hold on to all that the job starts."""
    startup.become_subreaper()
    startup.heed_signals()
    startup.ignore_interrupts()
    startup.set_name(PROCESS_NAME)


def serve(
    home: Home,
    job_id: str,
    attempt: int,
    standby: PreforkedPytest | Session | None = None,
) -> None:
    """Run an attempt at a job, in a process of its own; see `Rounds`."""
    be_runner()
    with JobStore(home) as store:
        slots = take_slots(store, job_id, attempt)
        job = None if slots is None else claim(store, job_id, attempt, slots)
        if slots is not None and job is not None:
            try:
                _run(store, job, slots, standby)
            except ScheduleError as error:
                log.warning(f"{job_id}: {error}")
        if slots is not None:
            slots.release()
        service.look_after(store)  # it may have died while this job ran
    wakeup.wake(home.wakeup_pipe)


def _run(
    store: JobStore, job: Job, slots: SlotLease, standby: PreforkedPytest | Session | None
) -> None:
    """Run a job that this process has claimed, and end it, whatever happens."""
    if job.priority is Priority.LOW:
        os.nice(_NICE_OF_LOW)
    rounds = Rounds(store, job, slots, standby)
    end = rounds.run()
    give_up_at = time.monotonic() + _END_PATIENCE_SECONDS
    while not _has_ended(store, job, rounds, end):
        if time.monotonic() >= give_up_at:
            return  # the dispatcher goes on trying, with less knowledge of the end
        time.sleep(_RETRY_SECONDS)


def _has_ended(store: JobStore, job: Job, rounds: Rounds, end: JobEnd) -> bool:
    """End a job, and return whether that was possible by now: the disk may be full."""
    try:
        if not store.home.schedule.is_dir():  # the home was thrown away
            store.home.make()
        rounds.note_full_disk()
        job_end.complete(store, job, end)
        return True
    except UnknownJobError:  # and with it the queue; the job still gets its record
        store.adopt(JobRow(job=job, tests=rounds.tests, claim=own_claim()))
    except ScheduleError as error:
        log.warning(f"{job.job_id}: {error}")
    return False


def main() -> None:
    """Run the attempt at the job in the home that the command line names."""
    root, job_id, attempt = sys.argv[1:]
    serve(Home(Path(root)), job_id, int(attempt), PreforkedPytest.of(os.environ))


if __name__ == "__main__":
    main()
