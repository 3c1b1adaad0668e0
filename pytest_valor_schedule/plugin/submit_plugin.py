"""Hand over what was collected, in a pytest that runs no test itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_valor_schedule.client import submit
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.run_options import RunOptions, apply_changes
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.plugin import output_buffer
from pytest_valor_schedule.plugin.collect_plugin import Collects, changes_of, collection_failed
from pytest_valor_schedule.text import render


class SubmitPlugin(Collects):
    """Hand the collected run over to the queue.

    Args:
        home: That of the queue.
        request: What shall run, and where.
        options: How it shall be executed.
        limits: What the settings say of the job.
        waits: Whether the run is waited for, and shown.
    """

    def __init__(
        self,
        home: Home,
        request: RunRequest,
        options: RunOptions,
        limits: Mapping[str, Any],
        waits: bool,
    ) -> None:
        super().__init__(limits)
        self._home = home
        self._request = request
        self._options = options
        self._waits = waits
        self._exit_code: int | None = None

    def _observers(self, terminal: object) -> tuple[object, ...]:
        return (self,) if self._waits else (self, terminal)  # who waits sees the job's own

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Have the last line say "412 scheduled"."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not self._waits:
            reporter.stats.setdefault("scheduled", [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Hand it over instead of running it."""
        if collection_failed(session):
            return None  # pytest says so
        if not session.items:
            return True
        try:
            self._submit(session)
        except ScheduleError as error:
            raise pytest.UsageError(str(error)) from None
        return True

    def _submit(self, session: pytest.Session) -> None:
        from pytest_valor_schedule.plugin import show_run
        from pytest_valor_schedule.text import screen

        size = screen.terminal_size() if self._waits else None
        collection = self.collection(session, terminal_size=size)
        changes = changes_of(session, dataclasses.asdict(self._options))
        options = apply_changes(self._options, changes)
        receipt = submit.submit(self._home, self._request, options, collection)
        if not self._waits:
            self._tell(session, receipt)
            return
        output = session.config.pluginmanager.get_plugin(output_buffer.NAME)
        if output is not None:
            output.discard()
        self._exit_code = show_run.RunView(self._home, receipt, quiet=_is_quiet(session)).run()

    def _tell(self, session: pytest.Session, receipt: ScheduleResponse) -> None:
        quiet = _is_quiet(session)
        lines = render.receipt_lines(receipt, quiet=quiet)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        write = print if reporter is None else reporter.write_line
        for line in lines if quiet else ["", *lines]:
            write(line)
        if reporter is not None:
            reporter.stats["scheduled"] = list(session.items)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End with the exit code of the run, where it was waited for."""
        if self._exit_code is not None:
            session.exitstatus = self._exit_code


def _is_quiet(session: pytest.Session) -> bool:
    return getattr(session.config.option, "verbose", 0) < 0  # the terminal reporter's option
