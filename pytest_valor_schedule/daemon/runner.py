"""One job from its start to its record."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util import log
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import job_end, outcomes, rounds, service
from pytest_valor_schedule.daemon.disk_space import await_room
from pytest_valor_schedule.daemon.invocation import Invocation
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.daemon.supervisor import Limits, ProcessExit, Supervisor
from pytest_valor_schedule.errors import ScheduleError, UnknownJobError
from pytest_valor_schedule.model.job import Job, Outcome, Priority
from pytest_valor_schedule.model.run_config import AGAIN, ALONE, CONFIRMING, FIRST
from pytest_valor_schedule.process import startup, warm
from pytest_valor_schedule.process.death_pipe import open_death_pipe
from pytest_valor_schedule.process.processes import Start
from pytest_valor_schedule.process.pseudo_terminal import open_pump
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue import job_records, wakeup
from pytest_valor_schedule.queue.claim import claim, own_claim, take_slots
from pytest_valor_schedule.queue.job_row import JobRow
from pytest_valor_schedule.queue.slots import SlotLease
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.aggregate import RunSummary
from pytest_valor_schedule.record.event_log import EventLog

PROCESS_NAME = "valor-runner"
_TELL_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_MOST_CONFIRMED = 50  # failures; where more fail it is not by chance
_NICE_OF_LOW = 10
_END_PATIENCE_SECONDS = 3600.0


class Runner:
    """Owns one job's processes, clocks and record."""

    def __init__(
        self, store: JobStore, job: Job, held: SlotLease, preforked: PreforkedPytest | None = None
    ) -> None:
        self._store = store
        self._preforked = preforked
        self._job = job
        self._held = held
        self._folder = store.home.job_folder(job.job_id)
        self._briefing = Invocation(store, job, held)
        self._begun = time.monotonic()
        self._limits = Limits(
            deadline=self._begun + job.timeout_minutes * 60,
            test=job.test_timeout_seconds,
            stall=job.stall_seconds,
            log_bytes=job.log_mb and job.log_mb * 2**20,
        )
        self._tell_at = 0.0
        self._reported = False  # by pytest itself, in its JUnit file
        self._has_begun = False
        self._peak_memory = 0
        self._rounds_begun = 0
        self._was_full = False
        self._told: Mapping[str, Any] = {}

    def run(self) -> None:
        """Run the job and end it, whatever happens."""
        if self._job.priority is Priority.LOW:
            os.nice(_NICE_OF_LOW)
        try:
            self._begin()
            with open_death_pipe() as held:
                ending = self._rounds(held)
        except (OSError, ScheduleError) as error:
            ending = self._failure(self._why_failed(error))
        self._end(ending)

    def _begin(self) -> None:
        self._store.publish(self._job, self._briefing.tests)
        self._store.home.make_job_folder(self._job.job_id)
        # Should the database be lost, this says who runs the job.
        path = event_log.path(self._folder, f"{self._job.attempt}.0", "runner")
        with closing(EventLog(path)) as own:
            own.write({"kind": "claim", "claim": self._store.claim(self._job.job_id)})
        self._has_begun = True

    def _failure(self, explanation: str) -> JobEnd:
        return JobEnd(
            completed_at=time.time(),
            outcome=Outcome.ERROR,
            explanation=explanation,
            junit_path=self._job.junit_path,
        )

    def _end(self, ending: JobEnd) -> None:
        """Write the record, as soon as the disk has room for it."""
        deadline = time.monotonic() + _END_PATIENCE_SECONDS
        while True:
            try:
                if not self._store.home.schedule.is_dir():  # the home was thrown away
                    self._store.home.make()
                if self._was_full:
                    self._note({"kind": "disk_full"})
                job_end.complete(self._store, self._job, ending)
                return
            except UnknownJobError:  # and with it the queue; the job still gets its record
                self._store.adopt(
                    JobRow(job=self._job, tests=self._briefing.tests, claim=own_claim())
                )
            except ScheduleError as error:
                log.warning(f"{self._job.job_id}: {error}")
                if time.monotonic() >= deadline:
                    raise  # the dispatcher goes on trying, with less knowledge of the end
            time.sleep(_PAUSE_SECONDS)

    def _why_failed(self, error: OSError | ScheduleError) -> str:
        if self._has_begun and not self._folder.is_dir():
            return "The home was thrown away while the job ran."
        if isinstance(error, ScheduleError):
            return str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "There was no room on the disk."
        if not Path(self._job.cwd).is_dir():
            return f"The folder {self._job.cwd} is not there any more."
        return f"{self._job.command[0]} could not be started ({error.strerror or error})."

    def _rounds(self, held: int) -> JobEnd:
        """Run pytest, and once more for the tests that it did not come to."""
        first = last = self._round(FIRST, self._briefing.first(), held)
        self._reported = first.code is not None and not first.killed and first.stop is None
        why = None
        if first.stop is None:
            account = job_records.run_summary(self._store, self._job)
            if account.missing and account.interruption is None:
                self._reported = False
            if rounds.can_bring_more(account, first):
                why, last = self._again(account, first, held)
            last = self._confirm(last, held)
        return JobEnd(
            completed_at=time.time(),
            duration_seconds=time.monotonic() - self._begun,
            outcome=last.stop,
            explanation=outcomes.why_stopped(last, self._job) or why,
            exit_code=last.code,
            stopped_at=last.stopped_at,
            peak_memory_bytes=self._peak_memory or None,
            junit_path=None if self._reported else self._job.junit_path,
            said=last.said,
            rounds=self._rounds_begun,
        )

    def _again(self, account: RunSummary, first: ProcessExit, held: int) -> tuple[str, ProcessExit]:
        """Run what is missing once more; return why, or why not, and how that ended."""
        why = outcomes.why_again(account, first, self._job)
        try:
            self._announce(why)
            return why, self._missing(account, first, held)
        except OSError as error:
            return outcomes.why_not_again(account, self._why_failed(error)), first

    def _missing(self, account: RunSummary, first: ProcessExit, held: int) -> ProcessExit:
        """Run what is missing once more; what may have killed the run last, and one by one."""
        suspects = account.cut_off if first.killed else ()
        last = None
        if others := [each for each in account.missing if each not in suspects]:
            last = self._round(AGAIN, others, held)
        for number, nodeid in enumerate(suspects, 1):
            if last is not None and last.stop is not None:
                break
            alone = self._round(f"{ALONE}{number}", [nodeid], held, workers=1)
            if alone.killed:  # also when it was run alone
                self._note({"kind": "killer", "id": nodeid})
            last = alone if last is None or alone.stop is not None or not last.code else last
        return last or first

    def _note(self, event: dict[str, Any]) -> None:
        path = event_log.path(self._folder, f"{self._job.attempt}.0", "runner")
        with suppress(OSError), closing(EventLog(path)) as own:
            own.write(event)

    def _confirm(self, last: ProcessExit, held: int) -> ProcessExit:
        """Run what failed again, alone and in a new worker, for as often as the job wants it.

        Returns:
            The exit of the run as it was, but one that was told to stop.
        """
        for number in range(1, (self._job.confirm_failures or 0) + 1):
            account = job_records.run_summary(self._store, self._job)
            failed = [
                each.nodeid for each in account.results if each.outcome.bad and not each.flaky
            ]
            ended = last.stop is not None or last.stalled or account.interruption is not None
            if ended or not failed or len(failed) > _MOST_CONFIRMED:
                break
            noun = "failure is" if len(failed) == 1 else "failures are"
            self._announce(f"{len(failed)} {noun} run again, to see what comes again.")
            again = self._round(f"{CONFIRMING}{number}", failed, held, workers=1)
            if again.stop is not None:  # the run has its outcome, unless somebody wants it ended
                return again if again.stop is Outcome.CANCELLED else last
        return last

    def _round(
        self, name: str, only: Sequence[str] | None, held: int, workers: int | None = None
    ) -> ProcessExit:
        if (ended := await_room(self._store.home, self._limits, self._cancelled)) is not None:
            return ended
        prefix = f"{self._job.attempt}.{name}"
        environment = self._briefing.environment(
            prefix, only, held, workers or self._job.workers or 1
        )
        self._store.close()  # the connection comes back with its next use
        pump = open_pump(self._job.terminal_size)
        wanted = Start(
            command=self._briefing.command(name),
            cwd=self._job.cwd,
            output=pump.theirs,
            environment=environment,
            # The slots too: they are free when the last of us is gone, not before.
            inherited=[held, *self._held.handles],
            umask=self._job.umask,
        )
        self._rounds_begun += 1
        preforked, self._preforked = self._preforked, None
        may_fork = self._job.fork_workers is not False
        execution = Supervisor(
            self._folder,
            prefix,
            self._limits,
            self._briefing.work(only),
            pump=pump,
            cancelled=self._cancelled,
            is_full=self._store.home.is_full,
            tell=self._tell,
        )
        try:
            ended = execution.run(warm.start_job(wanted, preforked, may_fork=may_fork))
        finally:
            self._peak_memory = max(self._peak_memory, execution.peak_memory)
        self._was_full |= ended.disk_full
        return ended

    def _announce(self, text: str) -> None:
        """Say between the outputs of two rounds why another one comes."""
        with suppress(OSError):
            log.append(self._store.home.output(self._job.job_id), f"\n{text}\n".encode())

    def _cancelled(self) -> bool:
        if self._store.home.cancelled(self._job.job_id).exists():
            return True
        with suppress(ScheduleError):  # a fault of the queue is no fault of the run
            return self._store.cancel_requested(self._job.job_id)
        return False

    def _tell(self, counts: Mapping[str, Any]) -> None:
        if counts != self._told and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_SECONDS
            self._told = counts
            with suppress(ScheduleError):
                self._store.set_progress(self._job.job_id, counts)


def serve(home: Home, job_id: str, attempt: int, preforked: PreforkedPytest | None = None) -> None:
    """Run an attempt at a job, in a process that is there for nothing else."""
    startup.become_subreaper()
    startup.heed_signals()
    startup.ignore_interrupts()
    startup.set_name(PROCESS_NAME)
    with JobStore(home) as store:
        held = take_slots(store, job_id, attempt)
        job = None if held is None else claim(store, job_id, attempt, held)
        if held is not None and job is not None:
            try:
                Runner(store, job, held, preforked).run()
            except ScheduleError as error:
                log.warning(f"{job_id}: {error}")
        if held is not None:
            held.release()
        service.look_after(store)  # it may have died while this job ran
    wakeup.wake(home.bell)


def main() -> None:
    """Run the attempt at the job in the home that the command line names."""
    root, job_id, attempt = sys.argv[1:]
    serve(Home(Path(root)), job_id, int(attempt), PreforkedPytest.of(os.environ))


if __name__ == "__main__":
    main()
