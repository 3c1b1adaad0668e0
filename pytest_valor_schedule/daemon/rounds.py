"""Run the rounds of a job: all its tests, then what has no result, then what failed."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_valor_schedule.daemon import outcomes
from pytest_valor_schedule.daemon.invocation import InvocationBuilder
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.daemon.job_notes import JobNotes
from pytest_valor_schedule.daemon.session import Session, SessionCrash
from pytest_valor_schedule.daemon.supervisor import Limits, ProcessExit, Supervisor
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Outcome, RanIn
from pytest_valor_schedule.model.round import Round, RoundKind
from pytest_valor_schedule.process import warm
from pytest_valor_schedule.process.death_pipe import open_death_pipe
from pytest_valor_schedule.process.processes import Process, Start
from pytest_valor_schedule.process.pseudo_terminal import open_pump
from pytest_valor_schedule.process.pump import OutputPump
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.queue.slots import SlotLease
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record.run_summary import RunSummary

_PROGRESS_SECONDS = 1.0
_MOST_FAILURES = 50  # that are rerun; where more fail it is not by chance
_DISK_POLL_SECONDS = 1.0
_DISK_PATIENCE_SECONDS = 3600.0


class Rounds:
    """Runs pytest for one job, as often as its tests need.

    Args:
        store: The queue that the job is in.
        job: As it was claimed.
        slots: Its worker slots.
        standby: A process that may become the pytest of the first round, or a session that has
            collected and may be it.
    """

    def __init__(
        self,
        store: JobStore,
        job: Job,
        slots: SlotLease,
        standby: PreforkedPytest | Session | None = None,
    ) -> None:
        self._store = store
        self._home = store.home
        self._job = job
        self._slots = slots
        self._preforked = standby if isinstance(standby, PreforkedPytest) else None
        self._session = standby if isinstance(standby, Session) else None
        self._ran_in = RanIn.WORKERS
        self._has_crashed = False
        self._obstacle: str | None = None  # to a run in a session
        self._folder = store.home.job_folder(job.job_id)
        self._notes = JobNotes(store.home, job)
        self.tests = store.tests(job.job_id)
        self._invocation = InvocationBuilder(store, job, self.tests, slots)
        self._started_at = time.monotonic()
        self._limits = Limits.of(job, self._started_at)
        self._has_begun = False
        self._progress_at = 0.0
        self._progress: Mapping[str, Any] = {}
        self._count = 0
        self._peak_memory = 0
        self._disk_was_full = False

    def run(self) -> JobEnd:
        """Run all rounds and return how the job ended, whatever happens."""
        try:
            self._begin()
            return self._run_all()
        except (OSError, ScheduleError) as error:
            return JobEnd(
                completed_at=time.time(),
                outcome=Outcome.ERROR,
                explanation=self._why_failed(error),
                junit_path=self._job.junit_path,
            )

    def _begin(self) -> None:
        self._store.publish(self._job, self.tests)
        self._home.make_job_folder(self._job.job_id)
        if self._session is None and self._job.attempt == 1:
            with suppress(OSError):  # what a session printed that was ended while it waited
                os.truncate(self._home.output(self._job.job_id), 0)
        # Should the database be lost, this says who runs the job.
        self._notes.write({"kind": "claim", "claim": self._store.claim(self._job.job_id)})
        self._has_begun = True

    def _run_all(self) -> JobEnd:
        tests = self.tests if self._job.chosen_by_cache else None  # the cache may be another by now
        first = last = self._run_first(tests)
        has_reported = first.code is not None and not first.killed and first.stop is None
        why = None
        if first.stop is None:
            summary = self._summary()
            has_reported &= not self._has_crashed
            has_reported &= not summary.missing or summary.interruption is not None
            if outcomes.can_bring_more(summary, first):
                why, last = self._rerun_missing(summary, first)
            last = self._rerun_failures(last)
        return JobEnd(
            completed_at=time.time(),
            duration_seconds=time.monotonic() - self._started_at,
            outcome=last.stop,
            explanation=outcomes.why_stopped(last, self._job) or why,
            exit_code=last.code,
            stopped_at=last.stopped_at,
            peak_memory_bytes=self._peak_memory or None,
            junit_path=None if has_reported else self._job.junit_path,
            error_line=last.error_line,
            rounds=self._count,
            ran_in=self._ran_in,
            obstacle=self._obstacle,
        )

    def _summary(self) -> RunSummary:
        return job_records.summarize(self._store, self._job)

    def _rerun_missing(self, summary: RunSummary, first: ProcessExit) -> tuple[str, ProcessExit]:
        """Run what has no result; return why, or why that was not possible, and how it ended.

        What may have killed the first round comes last, each such test in a round of its own.
        """
        why = outcomes.why_rerun(summary, first, self._job)
        suspects = summary.cut_off if first.killed else ()
        others = [each for each in summary.missing if each not in suspects]
        try:
            self._notes.announce(why)
            last = self._run(RoundKind.RERUN_MISSING, others) if others else None
            return why, self._isolate(suspects, last) or first
        except OSError as error:
            return outcomes.why_not_rerun(summary, self._why_failed(error)), first

    def _isolate(self, suspects: Sequence[str], last: ProcessExit | None) -> ProcessExit | None:
        """Run each test alone, and note the killers.

        Returns:
            The exit that was told to stop, or else the first bad one, or else the last.
        """
        for number, nodeid in enumerate(suspects, 1):
            if last is not None and last.stop is not None:
                break
            alone = self._run(RoundKind.ISOLATE, [nodeid], number)
            if alone.killed:  # also when it ran alone
                with suppress(OSError):
                    self._notes.write({"kind": "killer", "id": nodeid})
            last = alone if last is None or alone.stop is not None or not last.code else last
        return last

    def _rerun_failures(self, last: ProcessExit) -> ProcessExit:
        """Run what failed alone and in a new worker, as often as the job wants it.

        Returns:
            The exit of the run as it was, unless somebody cancelled it by now.
        """
        for number in range(1, (self._job.confirm_failures or 0) + 1):
            failures = self._failures(last)
            if not 0 < len(failures) <= _MOST_FAILURES:
                break
            noun = "failure is" if len(failures) == 1 else "failures are"
            self._notes.announce(f"{len(failures)} {noun} run again, to see what comes again.")
            rerun = self._run(RoundKind.RERUN_FAILURES, failures, number)
            if rerun.stop is not None:  # the run has its outcome, unless somebody wants it ended
                return rerun if rerun.stop is Outcome.CANCELLED else last
        return last

    def _failures(self, last: ProcessExit) -> list[str]:
        """Return what failed and never passed; nothing if the run did not come to its end."""
        summary = self._summary()
        if last.stop is not None or last.stalled or summary.interruption is not None:
            return []
        return [each.nodeid for each in summary.results if each.outcome.bad and not each.flaky]

    def _run(self, kind: RoundKind, tests: Sequence[str] | None, number: int = 0) -> ProcessExit:
        """Run one round of all tests, or of these; a numbered one has one worker."""
        if (early_exit := self._await_room()) is not None:
            return early_exit
        round_ = Round(self._job.attempt, kind, number)
        workers = 1 if number else self._job.workers or 1
        with open_death_pipe() as death_pipe:
            run_config = self._invocation.run_config(round_, tests, death_pipe, workers)
            environment = self._invocation.environment(run_config)
            self._store.close()  # the connection comes back with its next use
            pump = open_pump(self._job.terminal_size)
            start = Start(
                command=self._invocation.command(kind),
                cwd=self._job.cwd,
                output=pump.theirs,
                environment=environment,
                # The slots too: they are free when the last of us is gone, not before.
                inherited=[death_pipe, *self._slots.handles],
                umask=self._job.umask,
            )
            preforked, self._preforked = self._preforked, None
            may_fork = self._job.fork_workers is not False
            process = warm.start_job(start, preforked, may_fork=may_fork)
            return self._supervise(process, round_, self._invocation.work(tests), pump)

    def _run_first(self, tests: Sequence[str] | None) -> ProcessExit:
        """Run the first round: in the session, if there is one and it can."""
        session, self._session = self._session, None
        if session is None:
            return self._run(RoundKind.FIRST, tests)
        round_ = Round(self._job.attempt, RoundKind.FIRST)
        run_config = self._invocation.run_config(round_, tests, None, self._job.workers or 1)
        self._obstacle = session.begin(run_config, self._slots.handles)
        if self._obstacle is not None:
            session.replace_by_another()
            return self._run(RoundKind.FIRST, tests)
        self._ran_in = RanIn.FORKED_WORKERS if run_config.workers > 1 else RanIn.SESSION
        self._store.close()
        crash = SessionCrash(session.process.pid, self._folder, round_)
        work = self._invocation.work(tests)
        process_exit = self._supervise(session.process, round_, work, session.pump)
        session.close()
        has_ended = process_exit.stop is None and not process_exit.stalled
        if has_ended and self._ran_in is RanIn.SESSION:  # else xdist sees which worker dies
            self._has_crashed = crash.note(self._summary(), process_exit.code)
        return dataclasses.replace(process_exit, code=1) if self._has_crashed else process_exit

    def _supervise(
        self, process: Process, round_: Round, work: Work, pump: OutputPump
    ) -> ProcessExit:
        self._count += 1
        supervisor = Supervisor(
            self._folder,
            round_.prefix,
            self._limits,
            work,
            pump=pump,
            cancelled=self._cancelled,
            is_full=self._home.is_full,
            report=self._report_progress,
        )
        try:
            process_exit = supervisor.run(process)
        finally:
            self._peak_memory = max(self._peak_memory, supervisor.peak_memory)
        self._disk_was_full |= process_exit.disk_full
        return process_exit

    def _await_room(self) -> ProcessExit | None:
        """Wait for room on the disk; return how the job was ended while there was none."""
        give_up_at = time.monotonic() + _DISK_PATIENCE_SECONDS
        while self._home.is_full():
            now = time.monotonic()
            if (stop := self._limits.stop(now, self._cancelled)) is not None:
                return ProcessExit(code=None, stop=stop, stopped_at=now)
            if now >= give_up_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            time.sleep(_DISK_POLL_SECONDS)
        return None

    def _cancelled(self) -> bool:
        if self._home.cancel_marker(self._job.job_id).exists():
            return True
        with suppress(ScheduleError):  # a fault of the queue is no fault of the run
            return self._store.cancel_requested(self._job.job_id)
        return False

    def _report_progress(self, progress: Mapping[str, Any]) -> None:
        if progress != self._progress and time.monotonic() >= self._progress_at:
            self._progress_at = time.monotonic() + _PROGRESS_SECONDS
            self._progress = progress
            with suppress(ScheduleError):
                self._store.set_progress(self._job.job_id, progress)

    def note_full_disk(self) -> None:
        """Write down, if there is room by now, that reports may be lost because there was none."""
        if self._disk_was_full:
            with suppress(OSError):
                self._notes.write({"kind": "disk_full"})

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
