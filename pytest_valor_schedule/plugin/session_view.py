"""Show in a terminal what a session prints that has taken over its run."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_valor_schedule._util.log import Tail
from pytest_valor_schedule.client import session
from pytest_valor_schedule.client.session import SessionConnection, SessionRequest
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import command_line_fields
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.run_request import request_of_pytest
from pytest_valor_schedule.plugin.run_settings import RunSettings
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.screen import Screen, terminal_size

_POLL_SECONDS = 0.03
_SOON_SECONDS = 1.0  # in which a short run ends; for a longer one there is more to be shown
_INTERRUPTED, _USAGE_ERROR = 2, 4  # pytest's exit codes


def run(config: pytest.Config, environment: Mapping[str, str]) -> int | None:
    """Hand a run over to a session, and show it.

    Args:
        config: pytest's, of which only the early options are known.
        environment: The one that this pytest was started with.

    Returns:
        The exit code of this process; None if no session is to be had.
    """
    options = config.known_args_namespace
    try:
        settings = RunSettings(config, environment, options)
        waits = bool(settings.value("schedule_wait"))
        if not (options.schedule or waits or settings.value("schedule")):
            return None
        home = Home.find(environment)
        connection = session.begin(home, _wish(config, environment))
    except ScheduleError:  # which is said where all other errors of usage are
        return None
    if connection is None:
        return None
    is_quiet = getattr(options, "verbose", 0) < 0
    with contextlib.closing(connection):
        view = SessionView(home, connection, waits=waits, quiet=is_quiet)
        return view.run()


def _wish(config: pytest.Config, environment: Mapping[str, str]) -> SessionRequest:
    options, invocation = vars(config.known_args_namespace), config.invocation_params
    tries = run_options.number(options.get("confirm_failures"))
    if tries is not None:
        tries = run_options.check_confirm_failures(tries, "--confirm-failures")
    return SessionRequest(
        request=request_of_pytest(invocation.args, invocation.dir, environment),
        options=command_line_fields(options),
        confirm_failures=tries,
        terminal_size=terminal_size(),
    )


class SessionView:
    """Shows a session as if it were the pytest of this terminal.

    Args:
        home: Where its job is.
        connection: To its runner.
        waits: Whether the end of the run is waited for.
        quiet: Whether to say no more than must be said.
    """

    def __init__(
        self, home: Home, connection: SessionConnection, *, waits: bool, quiet: bool
    ) -> None:
        self._home = home
        self._connection = connection
        self._waits = waits
        self._quiet = quiet
        size = terminal_size()
        self._screen = Screen(sys.stdout, size and size[0])
        self._tail = Tail(home.output(connection.job_id))

    def run(self) -> int | None:
        """Return the exit code of this process; None where the runner died before it answered."""
        try:
            printed = self._await(None)
            message = None if printed is None else self._connection.receive(None)
        except KeyboardInterrupt:
            self._screen.print(
                "\nInterrupted while the tests were collected: nothing is scheduled."
            )
            return _INTERRUPTED
        if printed is None or message is None:
            return None
        answer = message["answer"]
        if self._is_read_by_program and "error" not in answer:
            self._announce(answer)
        self._screen.show(self._tail.read(printed["printed"]))
        if "error" in answer:
            return self._refuse(answer)
        return self._wait(answer) if self._waits else self._tell(answer)

    @property
    def _is_read_by_program(self) -> bool:
        """Whether the first line is to name the job, as there is no other place for it."""
        return self._waits and not self._quiet and not self._screen.is_terminal

    def _await(self, seconds: float | None) -> dict[str, Any] | None:
        """Show what is printed until the runner tells something, and return that.

        Raises:
            TimeoutError: if it has not within so many seconds, if they are given.
        """
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while True:
            try:
                return self._connection.receive(_POLL_SECONDS)
            except TimeoutError:
                if seconds is not None or not self._is_read_by_program:
                    self._screen.show(self._tail.read())
                if time.monotonic() >= deadline:
                    raise

    def _refuse(self, answer: Mapping[str, Any]) -> int:
        """Show why nothing is scheduled, if pytest has not, and return its exit code."""
        if "output" not in answer:
            print(f"ERROR: {answer['error']}", file=sys.stderr)
        return int(answer.get("exit_code") or _USAGE_ERROR)

    def _announce(self, answer: Mapping[str, Any]) -> None:
        for line in render.receipt_lines(dict(answer), quiet=True):
            self._screen.print(line)

    def _tell(self, answer: Mapping[str, Any]) -> int:
        if not self._quiet:
            self._screen.print("")
        for line in render.receipt_lines(dict(answer), quiet=self._quiet):
            self._screen.print(line)
        return 0

    def _wait(self, answer: Mapping[str, Any]) -> int:
        """Return the exit code of the run when it has ended; an interrupt only ends the waiting."""
        is_interrupted = False
        try:
            code = self._code_of_short_run(answer)
            if code is not None:
                return code
        except KeyboardInterrupt:
            is_interrupted = True
        from pytest_valor_schedule.plugin.show_run import RunView  # here, as a short run needs none

        view = RunView(self._home, answer, quiet=self._quiet, tail=self._tail)
        return view.detach() if is_interrupted else view.run()

    def _code_of_short_run(self, answer: Mapping[str, Any]) -> int | None:
        """Return the exit code of a run that soon ends as pytest has shown it; None for others."""
        with contextlib.suppress(TimeoutError):
            end = self._await(_SOON_SECONDS)
            if end is not None and end["is_final"]:
                self._screen.show(self._tail.read())
                if self._screen.is_terminal and not self._quiet:
                    self._screen.print(render.end_line(dict(answer)))
                return int(end["ended"])
        return None
