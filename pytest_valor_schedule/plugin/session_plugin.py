"""Collect once, wait for a turn, and run the tests then: the session of a job."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import other_plugins, pytest_internals
from pytest_valor_schedule.in_job import inline
from pytest_valor_schedule.in_job.controller_recorder import ControllerRecorder
from pytest_valor_schedule.in_job.files_read import FilesRead
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.plugin.collect_plugin import CollectPlugin, collection_failed
from pytest_valor_schedule.process import messages


class SessionPlugin(CollectPlugin):
    """Hand over what was collected, wait, and run it.

    Args:
        target: The file for what was collected.
        refusal: Why this run cannot be scheduled, or None.
        limits: What the settings say of the job.
        options: The fields of `RunOptions`; none where the settings cannot be used.
        control: The descriptor of the socket on which the runner says how it goes on.
        environment: The one that this pytest was started with.
        may_inline: Whether the tests may run in this very process.

    Attributes:
        recorder: What records the session, once its tests run.
    """

    _runs_here = True

    def __init__(
        self,
        target: Path,
        refusal: str | None,
        limits: Mapping[str, Any],
        options: Mapping[str, Any],
        control: int,
        environment: Mapping[str, str],
        *,
        may_inline: bool,
    ) -> None:
        super().__init__(target, refusal, limits, options)
        os.set_inheritable(control, False)
        self._control = socket.socket(fileno=control)
        self._environment = environment
        self._slots: Sequence[int] = ()
        self._may_inline = may_inline
        self._files = FilesRead()
        self._reports: list[pytest.CollectReport] = []
        self.recorder: ControllerRecorder | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what could not be collected, until there is where to note it."""
        if not report.passed:
            self._reports.append(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Hand it over, and run it when it is this job's turn."""
        if collection_failed(session):
            return None  # pytest says so
        self._files.keep(session.config, session.items)
        self._write(session)
        if self._refusal or not session.items:
            return True  # the runner says so
        run_config = self._await_turn(session)
        if run_config is None:
            other_plugins.run_without_others(session.config, keep=(self,))
            return True
        if run_config.workers > 1:
            from pytest_valor_schedule.in_job import session_workers

            return session_workers.run_on_workers(
                session, run_config, self._environment, self._reports
            )
        self.recorder = inline.record(session, run_config, self._reports)
        return None  # pytest's own loop runs them

    def _await_turn(self, session: pytest.Session) -> RunConfig | None:
        """Return how to run; None if another process is to, or nobody wants it any more."""
        with self._control, contextlib.suppress(OSError, ValueError):
            parked_at = time.time(), time.perf_counter()
            messages.send(self._control, {"collected": True})
            message = messages.receive(self._control)
            if message is None:
                return None
            run_config = RunConfig.from_json(message.content)
            self._slots = message.handles  # the locks, which are held as long as they are open
            obstacle = self._obstacle(session, run_config)
            messages.send(self._control, {"obstacle": obstacle})
            if obstacle is None:
                pytest_internals.leave_out_time(session.config, parked_at)
                return run_config
        return None

    def _obstacle(self, session: pytest.Session, run_config: RunConfig) -> str | None:
        """Return why the tests cannot run here, as a sentence; None if they can."""
        if (change := self._files.change()) is not None:
            return f"{change} since the tests were collected."
        if run_config.workers > 1:
            from pytest_valor_schedule.in_job import fork_hazards

            ours = [self._control.fileno(), *self._slots]
            return next(iter(fork_hazards.hazards(session, ours)), None)
        if not self._may_inline:
            return "The setting `inline` is never."
        return inline.obstacle(session)


class StopNote:
    """Notes that -x or --maxfail ended the run of a session."""

    def __init__(self, plugin: SessionPlugin) -> None:
        self._plugin = plugin

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Note it as the controller of a job does."""
        try:
            return (yield)
        except session.Failed as failed:
            if self._plugin.recorder is not None:
                self._plugin.recorder.note_stop(failed)
            raise
