"""Hold the session of a job: a pytest that collects once, waits, and becomes its first round."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_valor_schedule import env
from pytest_valor_schedule._util import log
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.in_job.crash_output import CrashOutput, printed_since_start
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import NEEDED_PLUGINS
from pytest_valor_schedule.model.round import Round
from pytest_valor_schedule.model.run_config import CollectConfig, RunConfig
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.process import kill, messages, stacks
from pytest_valor_schedule.process.fork_client import ForkedChild, with_fork_server
from pytest_valor_schedule.process.processes import Start
from pytest_valor_schedule.process.pseudo_terminal import open_pump
from pytest_valor_schedule.process.pump import OutputPump
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.aggregator import INLINE_WORKER
from pytest_valor_schedule.record.event_log import EventLog
from pytest_valor_schedule.record.run_summary import RunSummary

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_END_SECONDS = 3.0
_COLLECTION = "collection.json"


class Session:
    """A pytest that is told on a socket to run what it has collected.

    Args:
        process: It.
        pump: Who empties what it prints into the log of the job.
        control: The socket.
        death_pipe: The end of a pipe; it dies when this is closed.
        folder: That of the job.

    Attributes:
        waits: Whether it has collected, and waits for its turn.
    """

    def __init__(
        self,
        process: ForkedChild,
        pump: OutputPump,
        control: socket.socket,
        death_pipe: int,
        folder: Path,
    ) -> None:
        self.process = process
        self.pump = pump
        self._control = control
        self._death_pipe = death_pipe
        self._folder = folder
        self.waits = False
        control.settimeout(_ANSWER_SECONDS)

    def await_collection(self, until: float, is_wanted: Callable[[], bool]) -> Collection | None:
        """Return what it has collected; None if nothing, if nobody wants it, or if it is too slow.

        Args:
            until: How long it may take, by the monotonic clock.
            is_wanted: Whether somebody still waits for it.
        """
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not poll.poll(_LOOK_SECONDS * 1000):
            if time.monotonic() >= until or not is_wanted():
                return None
        with contextlib.suppress(OSError, ValueError):
            self.waits = messages.receive(self._control) is not None
        return Collection.read(self._folder / _COLLECTION)

    def exit_code(self) -> int | None:
        """Return that of one that ended without waiting for a turn; None if it goes on."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(0):
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=_ANSWER_SECONDS)
        return None

    def begin(self, run_config: RunConfig, slot_handles: Sequence[int]) -> str | None:
        """Have it run its tests, as nice as this process is.

        Args:
            run_config: How.
            slot_handles: The locks of the slots, which it holds as long as it lives.

        Returns:
            Why it does not, as a sentence; None if it does.
        """
        with contextlib.suppress(OSError, ValueError):
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PGRP, self.process.pid, nice)
            messages.send(self._control, run_config.to_json(), slot_handles)
            answer = messages.receive(self._control)
            if answer is not None:
                obstacle: str | None = answer.content["obstacle"]
                return obstacle
        return "The session that had collected the tests has ended."

    def end(self) -> str:
        """End it without a test having run, and return what it has printed."""
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_END_SECONDS)
        kill.end_tree(self.process)
        self.pump.close()
        self.close()
        with contextlib.suppress(OSError):
            return (self._folder / log.OUTPUT).read_text(errors="replace")
        return ""

    def replace_by_another(self) -> None:
        """End it, and with it what it has printed: another pytest prints it again."""
        self.end()
        with contextlib.suppress(OSError):
            os.truncate(self._folder / log.OUTPUT, 0)

    def close(self) -> None:
        """Let go of what belongs to a session that has ended."""
        self._control.close()
        os.close(self._death_pipe)


def open_session(
    home: Home,
    job_id: str,
    request: RunRequest,
    options: Mapping[str, Any],
    preforked: PreforkedPytest,
    size: Sequence[int] | None,
) -> Session | None:
    """Have a pytest begin to collect.

    Args:
        home: Where the job will be.
        job_id: Its id, whose folder is there.
        request: What shall run, and where.
        options: What of `RunOptions` is set.
        preforked: What becomes the pytest.
        size: Of the terminal at which somebody waits, or None.

    Returns:
        None if it could not be like one that is started.
    """
    command = (*request.launcher, *NEEDED_PLUGINS, *request.arguments)
    with_server = with_fork_server(command, request.launcher[0])
    if with_server == command:
        return None
    folder = home.job_folder(job_id)
    pump = open_pump(size)
    (death_pipe, write_end), (control, theirs) = os.pipe(), socket.socketpair()
    with theirs:
        config = CollectConfig(
            target=str(folder / _COLLECTION),
            death_pipe=death_pipe,
            request=dict(options),
            control=theirs.fileno(),
            threads=slots.threads_for_each(slots.total_or_cpus(home)),
        )
        start = Start(
            command=command,
            cwd=request.cwd,
            output=pump.theirs,
            environment={
                **notification.without_secrets(request.environment),
                env.COLLECT_VARIABLE: config.to_text(),
                env.JOB_ID_VARIABLE: job_id,
            },
            inherited=[death_pipe, theirs.fileno()],
            umask=request.umask,
        )
        process = preforked.become(start, with_server[2:], forks_workers=False)
    os.close(death_pipe)
    pump.copy_to(home.output(job_id), home.is_full)
    if process is None:
        pump.close()
        control.close()
        os.close(write_end)
        return None
    return Session(process, pump, control, write_end, folder)


class SessionCrash:
    """Blames the death of a session on the test that ran in it, as a controller does of a worker.

    Args:
        pid: Of the session, which lives.
        folder: That of the job.
        round_: The round that it runs.
    """

    def __init__(self, pid: int, folder: Path, round_: Round) -> None:
        self._captured = CrashOutput(pid)
        self._folder = folder
        self._prefix = round_.prefix

    def note(self, summary: RunSummary, code: int | None) -> bool:
        """Write down, if a test was running when the session ended by itself, which one it was.

        Args:
            summary: What the event logs say of the session.
            code: Its exit code, negative for a signal.

        Returns:
            Whether one was.
        """
        tests = [each.nodeid for each in summary.results if each.unfinished]
        try:
            if not tests or summary.interruption is not None:
                return False
            path = event_log.path(self._folder, self._prefix, "runner")
            with contextlib.closing(EventLog(path)) as notes:
                for event in (self._death(tests[-1], code), *map(_crash, tests)):
                    notes.write(event)
            return True
        finally:
            self._captured.close()

    def _death(self, test: str, code: int | None) -> dict[str, Any]:
        from pytest_valor_schedule.record.reports import truncate  # which imports pytest

        log_path = event_log.path(self._folder, self._prefix, INLINE_WORKER)
        stacks_path = event_log.stacks_path(self._folder, self._prefix, INLINE_WORKER)
        printed = printed_since_start(log_path, self._folder / log.OUTPUT)
        return {
            "kind": "down",
            "worker": INLINE_WORKER,
            "text": f"pytest, which ran the tests itself, ended in {test}",
            "moment": time.monotonic(),
            "code": code,
            "stacks": truncate(stacks.read(stacks_path)),
            "sections": [*self._captured.sections(), *printed],
        }


def _crash(nodeid: str) -> dict[str, Any]:
    text = "killed pytest, which ran it itself"
    return {"kind": "crash", "id": nodeid, "text": text, "moment": time.monotonic()}
