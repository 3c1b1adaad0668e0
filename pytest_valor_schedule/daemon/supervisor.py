"""One pytest process of a job, from its start to the end of all its descendants, under clocks.

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
from pytest_valor_schedule.daemon.progress import Current, Progress, overdue, stalled
from pytest_valor_schedule.model.job import Outcome
from pytest_valor_schedule.process import kill, memory, processes, pseudo_terminal, stacks
from pytest_valor_schedule.process.pump import OutputPump
from pytest_valor_schedule.queue.pace import Work
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.error_line import reason
from pytest_valor_schedule.record.event_log import EventLog

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.5
_USAGE_ERROR = 4  # pytest's exit code
_READ_BYTES = 4000  # of what it printed
_GRACE_SECONDS = 3.0  # between SIGINT and SIGKILL


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a job, clocks in seconds; None switches one off.

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How the process ended.

    Attributes:
        code: Its exit code, negative for a signal.
        stop: Why it was told to stop, or None if it ended by itself or stalled.
        stopped_at: When it was told to, by the monotonic clock.
        stalled: Whether it was ended because nothing happened any more.
        said: What pytest gave as the reason for its end, if it came to no session.
        disk_full: Whether there was no room for reports at its end.
    """

    code: int | None
    stop: Outcome | None = None
    stopped_at: float | None = None
    stalled: bool = False
    said: str | None = None
    disk_full: bool = False

    @property
    def killed(self) -> bool:
        """Whether somebody else ended it by a signal."""
        return self.stop is None and self.code is not None and self.code < 0


class Supervisor:
    """Stays with a pytest from its start to the end of its tree.

    Args:
        folder: That of the job; its log is kept within bounds.
        prefix: Attempt and round, such as "1.2".
        limits: The job's.
        work: What its tests are expected to take.
        pump: What it prints to.
        cancelled: Whether somebody asked to end the job.
        is_full: Whether there is no room for what is reported.
        tell: Gets the counts of `Progress`, `memory_mb` as used now, the tests that are
            `running`, and `queued_seconds`, at every look.

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
        tell: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._folder = folder
        self._prefix = prefix
        self._limits = limits
        self._pump = pump
        self._cancelled = cancelled
        self._is_full = is_full
        self._tell = tell
        self._output = folder / OUTPUT
        self._printed = _size(self._output)  # before this round
        self._look_at = 0.0
        self._journal: EventLog | None = None
        self.progress = Progress(folder, prefix, work)
        self.peak_memory = 0

    def run(self, process: processes.Process) -> ProcessExit:
        """Wait for the end of a pytest that was just started, or bring it about.

        Args:
            process: The pytest, leader of its own session.
        """
        self._pump.copy_to(self._output, self._is_full)
        try:
            ended = dataclasses.replace(self._follow(process), disk_full=self._is_full())
        finally:
            kill.end_tree(process)
            self._pump.close()
            self.peak_memory = max(self.peak_memory, memory.peak_of_ended_children())
            bound_log(self._output, self._limits.log_bytes)
            if self._journal is not None:
                with contextlib.suppress(OSError):
                    self._journal.close()
        return dataclasses.replace(ended, said=self._said(ended))

    def _follow(self, process: processes.Process) -> ProcessExit:
        while process.poll() is None:
            now = time.monotonic()
            if self._cancelled():
                return self._stop(process, Outcome.CANCELLED, now)
            if now >= self._limits.deadline:
                return self._stop(process, Outcome.TIMED_OUT, now)
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._look(now)
                used = memory.used_by_children(os.getpid())
                self.peak_memory = max(self.peak_memory, used)
                counts = self.progress.counts()
                self._tell(
                    {
                        **counts,
                        "memory_mb": round(used / 2**20),
                        "running": self.progress.running(),
                        "queued_seconds": self.progress.queued_seconds(),
                    }
                )
                bound_log(self._output, self._limits.log_bytes)
                self._fit_terminal()
                self._end_overdue(process, now)
                if stalled(self.progress.last_event, now, self._limits.stall):
                    self._note_stall()
                    return ProcessExit(code=None, stalled=True)
            processes.await_end(process, _POLL_SECONDS)
        return ProcessExit(code=process.returncode)

    def _said(self, ended: ProcessExit) -> str | None:
        """Return the reason that a pytest printed which came to no session."""
        had_session = event_log.path(self._folder, self._prefix, "controller").exists()
        code = ended.code or 0
        if ended.stop is not None or code <= 0 or (had_session and code != _USAGE_ERROR):
            return None
        count = max(0, _size(self._output) - self._printed)
        return reason(files.tail(self._output, min(_READ_BYTES, count)))

    def _look(self, now: float) -> None:
        self.progress.look(now)
        if self._is_full():
            self.progress.lose_sight(now)

    def _fit_terminal(self) -> None:
        """Let a change of the window of who waits reach the job."""
        if size := pseudo_terminal.read_window(self._folder):
            self._pump.resize(size)

    def _stop(self, process: processes.Process, why: Outcome, now: float) -> ProcessExit:
        """Let pytest end by itself for a moment, so that fixtures are torn down."""
        self._note_cut_off(why, now)
        kill.interrupt(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
        return ProcessExit(code=process.returncode, stop=why, stopped_at=now)

    def _end_overdue(self, process: processes.Process, now: float) -> None:
        """End the workers whose test has run for too long; xdist replaces them."""
        for test in overdue(self.progress.current, now, self._limits.test):
            found = self._stacks_of(test)
            # Stopped, it cannot go on to the next test while we look whether it is still at this.
            kill.signal_member(test.pid, signal.SIGSTOP, session=process.pid)
            self.progress.look(now)
            if test in self.progress.current:
                text = f"ran longer than its limit of {self._limits.test:g} s"
                self._note("hung", test, text, found)
                self.progress.forget(test)
                kill.signal_member(test.pid, signal.SIGKILL, session=process.pid)
            kill.signal_member(test.pid, signal.SIGCONT, session=process.pid)

    def _note_stall(self) -> None:
        minutes = (self._limits.stall or 0.0) / 60
        text = f"hung: nothing happened in the run for {minutes:g} minutes"
        for test in self.progress.current:
            self._note("hung", test, text, self._stacks_of(test))

    def _note_cut_off(self, why: Outcome, now: float) -> None:
        self.progress.look(now)
        for test in self.progress.current:
            if why is Outcome.TIMED_OUT:
                text = "was running when the time limit ended the run"
                self._note("cut_off", test, text, self._stacks_of(test))
            else:
                self._note("cut_off", test, "was running when the run was cancelled", "")

    def _stacks_of(self, test: Current) -> str:
        worker = test.writer.rpartition("-")[2]
        where = event_log.stacks_path(self._folder, self._prefix, worker)
        return stacks.ask(test.pid, where) or _state_of(test.pid)

    def _note(self, kind: str, test: Current, text: str, found: str) -> None:
        """Write down, before anything is ended, what is to be and where it was."""
        event = {
            "kind": kind,
            "worker": test.writer.rpartition("-")[2],
            "id": test.nodeid,
            "text": text,
            "stacks": found,
            "moment": time.monotonic(),
        }
        try:
            if self._journal is None:
                self._journal = EventLog(event_log.path(self._folder, self._prefix, "runner"))
            self._journal.write(event)
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
