"""Inside the pytest of a submitter: collect as always, then hand over instead of running."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from sys import executable, orig_argv
from typing import Any

import pytest

from pytest_valor_schedule import api, rendering, request, settings, specification, submission
from pytest_valor_schedule.collection import Collection
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.handshake import COLLECT_VARIABLE
from pytest_valor_schedule.request import Request
from pytest_valor_schedule.settings import Home, Setting
from pytest_valor_schedule.submission import Order, Receipt

_MEASURING_PLUGINS = ("_cov",)  # pytest-cov would complain that nothing was measured


def collecting(config: pytest.Config, target: str) -> object:
    """Return the plugin object for a pytest that only collects, for `schedule_tests`."""
    os.environ.pop(COLLECT_VARIABLE, None)  # not for a pytest that a conftest.py starts
    refusal = _refusal(config)
    _do_not_run_here(config)
    return Collector(Path(target), refusal)


def scheduling(config: pytest.Config) -> object | None:
    """Return the plugin object that hands the run over; None if it shall run here after all.

    Raises:
        pytest.UsageError: if an option or setting cannot be used.
    """
    try:
        home = Home.find(os.environ)
        machine = home.settings()
        if not settings.is_on(_setting(config, "schedule", machine)):
            return None
        refusal = _refusal(config)
        if refusal and not config.option.schedule:
            return None  # switched on for all runs, but this one is for the terminal
        if refusal:
            raise InvalidRequestError(refusal)
        wait = settings.is_on(_setting(config, "schedule_wait", machine))
        asked = _request(config, machine)
    except ScheduleError as error:
        raise pytest.UsageError(str(error)) from None
    _do_not_run_here(config)
    return Submitter(config, home, asked, wait)


def _setting(config: pytest.Config, name: str, machine: dict[str, Any]) -> Setting:
    option = getattr(config.option, name, None)
    ini = config.getini(f"valor_schedule_{name}")
    return settings.look_up(name, option, os.environ, ini, machine)


def _request(config: pytest.Config, machine: dict[str, Any]) -> Request:
    def checked(name: str, check: Callable[[Any, str], Any]) -> Any:
        setting = _setting(config, name, machine)
        return check(setting.value, setting.source)

    return Request(
        priority=checked("priority", request.check_priority),
        max_workers=checked("max_workers", _numeric(request.check_max_workers)),
        timeout_minutes=checked("timeout_minutes", _numeric(request.check_timeout_minutes)),
        notification_chat_id=checked("notify", request.check_notification_chat_id),
    )


def _numeric(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, source: check(request.number(value), source)


def _refusal(config: pytest.Config) -> str | None:
    """Return why this run cannot go to the background, or None."""
    reasons = {
        "usepdb": "--pdb opens a debugger",
        "trace": "--trace opens a debugger",
        "looponfail": "--looponfail never ends",
        "collectonly": "--collect-only runs no test",
        "setuponly": "--setup-only runs no test",
        "setupplan": "--setup-plan runs no test",
    }
    for name, reason in reasons.items():
        if getattr(config.option, name, False):
            return f"{reason}, which makes no sense in the background; run pytest directly."
    if not config.pluginmanager.hasplugin("xdist"):
        return "A scheduled run needs the plugin pytest-xdist, which is switched off here."
    if getattr(config.option, "dist", None) == "each":
        return "--dist each runs each test more than once, which the queue cannot record."
    return None


def _do_not_run_here(config: pytest.Config) -> None:
    """Keep what serves the run alone from starting in a process that only collects."""
    config.option.numprocesses = None
    config.option.dist = "no"  # xdist would start idle workers
    config.option.tx = []
    config.option.xmlpath = None  # the report file is the job's to write
    for name in _MEASURING_PLUGINS:
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)


def _collection(session: pytest.Session, refusal: str | None = None) -> Collection:
    return Collection(
        nodeids=tuple(dict.fromkeys(item.nodeid for item in session.items)),
        rootdir=str(session.config.rootpath),
        interpreter=executable,
        refusal=refusal,
    )


def _collection_failed(session: pytest.Session) -> bool:
    return bool(session.testsfailed) and not session.config.option.continue_on_collection_errors


class Collector:
    """Writes down what was collected."""

    def __init__(self, target: Path, refusal: str | None) -> None:
        self._target = target
        self._refusal = refusal

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if _collection_failed(session):
            return None  # pytest says so
        _collection(session, self._refusal).write(self._target)
        return True


class Submitter:
    """Hands the collected run over to the queue."""

    def __init__(self, config: pytest.Config, home: Home, asked: Request, wait: bool) -> None:
        self._home = home
        self._request = asked
        self._wait = wait
        self._order = _order(config)
        self._exit_code: int | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if _collection_failed(session):
            return None  # pytest says so
        if not session.items:
            return True
        try:
            receipt = submission.submit(
                self._home, self._order, self._request, _collection(session)
            )
        except ScheduleError as error:
            raise pytest.UsageError(str(error)) from None
        self._tell(session, receipt)
        if self._wait:
            self._wait_for(session.config, receipt.job.job_id)
        return True

    def _tell(self, session: pytest.Session, receipt: Receipt) -> None:
        quiet = getattr(session.config.option, "verbose", 0) < 0  # of the terminal reporter
        lines = rendering.receipt_lines(receipt, quiet=quiet)
        _print(session.config, ["", *lines] if not quiet else lines)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:  # the last line: "412 scheduled", not "no tests ran"
            reporter.stats["scheduled"] = list(session.items)

    def _wait_for(self, config: pytest.Config, job_id: str) -> None:
        answer = api.wait_for_job(job_id)
        if "error" not in answer:
            answer = api.get_job_results(job_id)
        _print(config, ["", *rendering.results_lines(answer)])
        self._exit_code = rendering.exit_code(answer)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._exit_code is not None:
            session.exitstatus = self._exit_code


def _order(config: pytest.Config) -> Order:
    given = [str(argument) for argument in config.invocation_params.args]
    arguments = specification.without_schedule_flags(given)
    return Order(
        specification=shlex.join(("pytest", *arguments)),
        launcher=specification.invocation(executable, orig_argv, given),
        arguments=arguments,
        cwd=str(config.invocation_params.dir),
        environment=submission.current_environment(),
    )


def _print(config: pytest.Config, lines: list[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    write = print if reporter is None else reporter.write_line
    for line in lines:
        write(line)
