"""Start, watch and end runners, which the dispatcher knows only by this protocol."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import amount
from pytest_valor_schedule.daemon import runner
from pytest_valor_schedule.daemon.notification import NOTIFIER_VARIABLE
from pytest_valor_schedule.daemon.session_listener import SessionCall
from pytest_valor_schedule.daemon.spare_runner import RUNNER, SpareRunner, run_by
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.process import fork_check, kill, memory, processes, warm
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.process.warm_interpreter import WarmInterpreter
from pytest_valor_schedule.process.warm_pool import WarmInterpreters
from pytest_valor_schedule.queue import environments, slots, wakeup
from pytest_valor_schedule.queue.store import JobStore

LOCAL = "local"
_MOST_SESSIONS = 8
"""How many that have collected wait for their turn at a time; each has some 50 MB or more."""


class RunnerState(StrEnum):
    """States of a runner."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"


class Executor(Protocol):
    """Starts runners somewhere and says what became of them."""

    def hosts(self) -> dict[str, int]:
        """Return the hosts and how many worker slots each has."""

    def start(self, job: Job, attempt: int, host: str) -> str:
        """Start the runner of a job's attempt and return its reference; twice is once."""

    def get_ready(self) -> None:
        """Do in a quiet moment what every later start would have to do."""

    def poll(self, refs: Iterable[str]) -> dict[str, RunnerState]:
        """Return the state of each reference; raise if it cannot be known."""

    def exit_code(self, ref: str) -> int | None:
        """Return that of a runner that has ended, negative for a signal; None if nobody knows."""

    def cancel(self, ref: str) -> None:
        """End a runner and its job; a second time does nothing."""

    def clean_up(self, ref: str) -> None:
        """End what a dead runner left behind."""

    def close(self) -> None:
        """Let go of all runners, which go on."""


def reference(job: Job, attempt: int) -> str:
    """Return the reference of a job's attempt, known before its start."""
    return f"{job.job_id}:{attempt}"


class LocalExecutor:
    """Runs runners as processes of this machine.

    The watcher, our parent, has the runners that another dispatcher left.
    """

    def __init__(self, home: Home, store: JobStore, watcher: int) -> None:
        self._watcher = watcher
        self._home = home
        self._store = store
        self._runners: dict[str, processes.Process] = {}
        self._born = time.time()
        self._installed = warm.changed_at()
        self._warm = WarmInterpreters()
        self._sessions: list[processes.Process] = []
        self._spares: dict[WarmInterpreter, SpareRunner] = {}
        self._last: tuple[WarmInterpreter, Mapping[str, str]] | None = None

    def hosts(self) -> dict[str, int]:
        """Return this machine."""
        return {LOCAL: slots.total_or_cpus(self._home)}

    def start(self, job: Job, attempt: int, host: str) -> str:
        """Start a runner process; see `Executor`."""
        ref = reference(job, attempt)
        if ref not in self._runners and not (attempt == 1 and self._give_turn(job)):
            self._runners[ref] = self._start(job, attempt)
        return ref

    def _give_turn(self, job: Job) -> bool:
        """Have the session of a job run it; return whether there is one."""
        identity = Identity.alive_in(self._store.claim(job.job_id))
        if identity is None:
            return False
        own = next((each for each in self._sessions if each.pid == identity.pid), None)
        if own is not None:
            self._sessions.remove(own)
            self._runners[reference(job, 1)] = own
        wakeup.wake(self._home.turn_pipe(job.job_id))
        return True

    def start_sessions(self, calls: Iterable[SessionCall]) -> None:
        """Start a runner for each session that is asked for, where an interpreter is warm.

        Where none is, the one who asked goes on without; the next one finds it warm.
        """
        for call in calls:
            try:
                self._start_session(call)
            except OSError as error:
                warning(f"dispatcher: a session could not be started: {error}")
            finally:
                os.close(call.connection)
                os.close(call.content)

    def _start_session(self, call: SessionCall) -> None:
        environment = processes.background_environment(self._home, call.environment)
        forks = self._warm.find(call.interpreter, environment)
        if forks is None:
            return
        self._end_surplus_sessions()
        self._store.close()
        handles = [call.connection, call.content]
        self._sessions.append(self._run(forks, environment, ["session"], handles))

    def _run(
        self,
        forks: WarmInterpreter,
        environment: Mapping[str, str],
        words: Sequence[str],
        handles: Sequence[int] = (),
    ) -> processes.Process:
        """Return a runner that is forked: the spare one, if there is one."""
        self._last = forks, environment
        with contextlib.suppress(OSError):
            spare = self._spares.get(forks)
            if spare is not None and spare.environment == environment:
                return self._spares.pop(forks).run(words, handles)
        words = [*words, *map(str, handles)]
        return run_by(forks, self._home, environment, words, handles)

    def _have_spare(self) -> None:
        """Have a runner ready for the next job; those of interpreters that ended are not needed."""
        kept = self._warm.kept()
        for each in self._spares.keys() - {*kept}:
            self._spares.pop(each).close()
        if self._last is None or self._last[0] not in kept:
            return
        forks, environment = self._last
        spare = self._spares.get(forks)
        if spare is not None and spare.environment == environment:
            return
        if spare is not None:
            spare.close()
        with contextlib.suppress(OSError):
            self._spares[forks] = SpareRunner(forks, self._home, environment)

    def _end_surplus_sessions(self) -> None:
        """End the oldest that wait, so that there are few of them; their jobs collect anew."""
        if len(self._sessions) < _MOST_SESSIONS and self._has_memory():
            return
        claims = (self._store.claim(job.job_id) for job in self._store.queue())
        waiting = [each for each in map(Identity.alive_in, claims) if each is not None]
        for identity in waiting[: max(1, len(waiting) - _MOST_SESSIONS + 1)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)

    def _has_memory(self) -> bool:
        return memory.available() >= amount("memory_reserve_mb", self._home) * 2**20

    def _start(self, job: Job, attempt: int) -> processes.Process:
        # The job's own interpreter has the very version of us that records in the job; where it
        # cannot import us by itself, ours may do.
        interpreter = job.interpreter if attempt == 1 else sys.executable
        environment = self._environment_of_runner(job.job_id)
        with contextlib.suppress(OSError):
            if (forks := self._warm.get(interpreter, environment)) is not None:
                return self._run(forks, environment, [job.job_id, str(attempt)])
        if interpreter == sys.executable and self._is_up_to_date():
            self._store.close()  # the connection comes back with its next use
            serve = functools.partial(runner.serve, self._home, job.job_id, attempt)
            return processes.fork_supervised(serve)
        arguments = [str(self._home.root), job.job_id, str(attempt)]
        folder, log = self._home.schedule, self._home.dispatcher_log
        return processes.start_supervised(RUNNER, arguments, folder, log, interpreter, environment)

    def _environment_of_runner(self, job_id: str) -> dict[str, str]:
        """Return what its interpreter needs, which may be another than that of this process."""
        try:
            environment: Mapping[str, str] = environments.read(self._home, job_id)
        except ScheduleError:  # which the runner will tell
            environment = os.environ
        return processes.background_environment(self._home, environment)

    def get_ready(self) -> None:
        """Do in a quiet moment what every later start would have to do."""
        self._warm.get_ready()
        self._have_spare()

    def _is_up_to_date(self) -> bool:
        edited = fork_check.is_edited(list(sys.modules), self._born)
        return self._installed == warm.changed_at() and not edited

    def poll(self, refs: Iterable[str]) -> dict[str, RunnerState]:
        """Return the states of runners, also of those that another dispatcher started."""
        for process in self._runners.values():
            process.poll()  # so that none that has ended stays as a zombie
        self._sessions = [each for each in self._sessions if each.poll() is None]
        return {ref: self._state(ref) for ref in refs}

    def _state(self, ref: str) -> RunnerState:
        process = self._runners.get(ref)
        if process is not None:
            return RunnerState.RUNNING if process.poll() is None else RunnerState.ENDED
        runner = Identity.alive_in(self._store.claim(ref.partition(":")[0]))
        return RunnerState.LOST if runner is None else RunnerState.RUNNING

    def exit_code(self, ref: str) -> int | None:
        """Return how a runner ended that was started here; see `Executor`."""
        process = self._runners.get(ref)
        return None if process is None else process.returncode

    def cancel(self, ref: str) -> None:
        """Ask the runner to end its job."""
        self._store.request_cancel(ref.partition(":")[0])

    def clean_up(self, ref: str) -> None:
        """End the processes of a job whose runner is dead.

        Its orphans are children of this process or of its watcher, or carry the mark of the job.
        """
        keep = {pid for pid, _ in kill.pids_with_variable(NOTIFIER_VARIABLE)}
        keep |= {each.pid for each in (*self._runners.values(), *self._sessions)}
        keep |= {*self._warm.pids()}
        kill.end_children(keep=keep)
        keep.add(os.getpid())
        for name in (runner.PROCESS_NAME, runner.SESSION_NAME):
            keep |= {*kill.pids_with_name(name)}
        kill.end_children(keep=keep, of=self._watcher)
        kill.end_all_with_variable(JOB_ID_VARIABLE, ref.partition(":")[0])

    def close(self) -> None:
        """Forget the runners; they own their jobs and need nobody."""
        self._runners.clear()
        self._sessions.clear()
        for spare in self._spares.values():
            spare.close()
        self._spares.clear()
        self._warm.close()
