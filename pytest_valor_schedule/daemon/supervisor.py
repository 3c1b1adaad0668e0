"""Supervise one pytest process of a job, from its start to the end of all its descendants.

The clocks need neither the GIL of a test nor the controller: they are kept by the runner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util import files
from pytest_valor_schedule._util.log import OUTPUT, bound_log, warning
from pytest_valor_schedule.daemon.progress import Progress, RunningTest, overdue, stalled
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.process import kill, memory, processes, pseudo_terminal, stacks
from pytest_valor_schedule.process.pump import OutputPump
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.event_log import EventLog
from pytest_valor_schedule.record.output import error_line

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 3.0  # between SIGINT and SIGKILL
_USAGE_ERROR = 4  # pytest's exit code
_MOST_BYTES = 4000  # of the output in which the reason of an end is looked for


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Holds the limits of a job, clocks in seconds; None switches one off.

    Attributes:
        deadline: End of the whole job, by the monotonic clock.
        test: Longest time of one test.
        stall: Longest time without any event once tests have begun.
        log_bytes: The most that is kept of what the job prints.
    """

    deadline: float
    test: float | None
    stall: float | None
    log_bytes: float | None

    @classmethod
    def of(cls, job: Job, now: float) -> Limits:
        """Return the limits of a job that starts now, by the monotonic clock."""
        return cls(
            deadline=now + job.timeout_minutes * 60,
            test=job.test_timeout_seconds,
            stall=job.stall_seconds,
            log_bytes=job.log_mb and job.log_mb * 2**20,
        )

    def stop(self, now: float, cancelled: Callable[[], bool]) -> Outcome | None:
        """Return the outcome with which the job is to stop now, if it is."""
        if cancelled():
            return Outcome.CANCELLED
        return Outcome.TIMED_OUT if now >= self.deadline else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """Describes how the process ended.

    Attributes:
        code: Its exit code, negative for a signal.
        stop: Why it was told to stop, or None if it ended by itself or stalled.
        stopped_at: When it was told to, by the monotonic clock.
        stalled: Whether it was ended because nothing happened any more.
        error_line: What pytest printed as the reason for its end, if it came to no session.
        disk_full: Whether there was no room for reports at its end.
    """

    code: int | None
    stop: Outcome | None = None
    stopped_at: float | None = None
    stalled: bool = False
    error_line: str | None = None
    disk_full: bool = False

    @property
    def killed(self) -> bool:
        """Whether somebody else ended it by a signal."""
        return self.stop is None and self.code is not None and self.code < 0


class Supervisor:
    """Stays with a pytest from its start to the end of its tree.

    Args:
        folder: That of the job; its log is kept within bounds.
        prefix: How the names of the round's event logs begin.
        limits: The job's.
        work: What its tests are expected to take.
        pump: What it prints to.
        cancelled: Whether somebody asked to end the job.
        is_full: Whether there is no room for what is reported.
        report: Gets `Progress.snapshot` and `memory_mb` as used now, at every look.

    Attributes:
        peak_memory: The most bytes that this process' descendants were seen to use together, or
            that one of them had.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        limits: Limits,
        work: Work,
        *,
        pump: OutputPump,
        cancelled: Callable[[], bool],
        is_full: Callable[[], bool],
        report: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._folder = folder
        self._prefix = prefix
        self._limits = limits
        self._pump = pump
        self._cancelled = cancelled
        self._is_full = is_full
        self._report = report
        self._output = folder / OUTPUT
        self._output_start = _size(self._output)
        self._look_at = 0.0
        self._notes: EventLog | None = None
        self._progress = Progress(folder, prefix, work)
        self.peak_memory = 0

    def run(self, process: processes.Process) -> ProcessExit:
        """Wait for the end of a pytest that leads its own session, or bring it about."""
        self._pump.copy_to(self._output, self._is_full)
        try:
            process_exit = dataclasses.replace(self._follow(process), disk_full=self._is_full())
        finally:
            kill.end_tree(process)
            self._pump.close()
            self.peak_memory = max(self.peak_memory, memory.peak_of_ended_children())
            bound_log(self._output, self._limits.log_bytes)
            if self._notes is not None:
                with contextlib.suppress(OSError):
                    self._notes.close()
        return dataclasses.replace(process_exit, error_line=self._error_line(process_exit))

    def _follow(self, process: processes.Process) -> ProcessExit:
        while process.poll() is None:
            now = time.monotonic()
            if (stop := self._limits.stop(now, self._cancelled)) is not None:
                return self._stop(process, stop, now)
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._look(now)
                self._end_overdue(process, now)
                if stalled(self._progress.last_event, now, self._limits.stall):
                    minutes = (self._limits.stall or 0.0) / 60
                    text = f"hung: nothing happened in the run for {minutes:g} minutes"
                    self._note_all("hung", text)
                    return ProcessExit(code=None, stalled=True)
            processes.await_end(process, _POLL_SECONDS)
        return ProcessExit(code=process.returncode)

    def _look(self, now: float) -> None:
        """Read and report how far the tests are, and keep log and terminal as they should be."""
        self._progress.look(now)
        if self._is_full():
            self._progress.lose_sight(now)
        used = memory.used_by_children(os.getpid())
        self.peak_memory = max(self.peak_memory, used)
        self._report({**self._progress.snapshot(), "memory_mb": round(used / 2**20)})
        bound_log(self._output, self._limits.log_bytes)
        if size := pseudo_terminal.read_window(self._folder):  # whoever waits has changed it
            self._pump.resize(size)

    def _error_line(self, process_exit: ProcessExit) -> str | None:
        """Return the reason that a pytest printed which came to no session."""
        had_session = event_log.path(self._folder, self._prefix, "controller").exists()
        code = process_exit.code or 0
        if process_exit.stop is not None or code <= 0 or (had_session and code != _USAGE_ERROR):
            return None
        count = max(0, _size(self._output) - self._output_start)
        return error_line(files.tail(self._output, min(_MOST_BYTES, count)))

    def _stop(self, process: processes.Process, why: Outcome, now: float) -> ProcessExit:
        """Let pytest end by itself for a moment, so that fixtures are torn down."""
        self._progress.look(now)
        if why is Outcome.TIMED_OUT:
            self._note_all("cut_off", "was running when the time limit ended the run")
        else:
            self._note_all("cut_off", "was running when the run was cancelled", with_stacks=False)
        kill.interrupt(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
        return ProcessExit(code=process.returncode, stop=why, stopped_at=now)

    def _end_overdue(self, process: processes.Process, now: float) -> None:
        """End the workers whose test has run for too long; xdist replaces them."""
        for test in overdue(self._progress.current, now, self._limits.test):
            worker_stacks = self._stacks_of(test)
            # Stopped, it cannot go on to the next test while we look whether it is still at this.
            kill.signal_member(test.pid, signal.SIGSTOP, session=process.pid)
            self._progress.look(now)
            if test in self._progress.current:
                text = f"ran longer than its limit of {self._limits.test:g} s"
                self._note("hung", test, text, worker_stacks)
                self._progress.forget(test)
                kill.signal_member(test.pid, signal.SIGKILL, session=process.pid)
            kill.signal_member(test.pid, signal.SIGCONT, session=process.pid)

    def _note_all(self, kind: str, text: str, *, with_stacks: bool = True) -> None:
        for test in self._progress.current:
            self._note(kind, test, text, self._stacks_of(test) if with_stacks else "")

    def _stacks_of(self, test: RunningTest) -> str:
        path = event_log.stacks_path(self._folder, self._prefix, test.worker)
        return stacks.ask(test.pid, path) or _state_of(test.pid)

    def _note(self, kind: str, test: RunningTest, text: str, worker_stacks: str) -> None:
        """Write down, before a worker is ended, which and where it was."""
        event = {
            "kind": kind,
            "worker": test.worker,
            "id": test.nodeid,
            "text": text,
            "stacks": worker_stacks,
            "moment": time.monotonic(),
        }
        try:
            if self._notes is None:
                self._notes = EventLog(event_log.path(self._folder, self._prefix, "runner"))
            self._notes.write(event)
        except OSError as error:  # a full disk must not keep us from ending what hangs
            warning(f"{test.nodeid} {text}, which could not be noted: {error}")


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _state_of(pid: int) -> str:
    """Return why a process may have no stacks to show (Linux), or ""."""
    with contextlib.suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return f"The worker's process {pid} gave no stacks; its state is {state}."
    return ""
