"""What a pytest does that runs no test itself: it hands over what it has collected."""

from __future__ import annotations

import dataclasses
import gc
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from sys import executable, orig_argv
from types import MappingProxyType
from typing import Any

import pytest

from pytest_valor_schedule import bystanders, files, rendering, specification, submission
from pytest_valor_schedule.collection import Collection
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.home import Home
from pytest_valor_schedule.job import Outcome
from pytest_valor_schedule.order import Order, current_umask, job_environment
from pytest_valor_schedule.request import Request, changed
from pytest_valor_schedule.submission import Receipt

JUNIT_PATH = pytest.StashKey[str | None]()
"""Where the run is to be reported, as the user has written it."""
_CHOOSE_BY_CACHE = ("lf", "failedfirst", "stepwise")
_LOOKED_AT_BYTES = 256 * 1024  # of a log, for what plugins have printed at its end
_TOLD_BY_TESTS = (Outcome.PASSED, Outcome.FAILED)


class Guest:
    """What a pytest has that runs no test itself."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_unconfigure(self) -> Iterator[None]:
        """Let somebody have the terminal back: there is no garbage of tests to be searched for."""
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()  # it may be a program, which goes on


class Collector(Guest):
    """Writes down what was collected."""

    def __init__(
        self,
        target: Path,
        refusal: str | None,
        limits: Mapping[str, Any],
        request: Mapping[str, Any],
    ) -> None:
        self._target = target
        self._request = request
        self._refusal = refusal
        self._limits = limits

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Write it down instead of running it."""
        if _collection_failed(session):
            return None  # pytest says so
        bystanders.leave_cache(session.config)  # the job knows what failed
        bystanders.excuse(session.config)
        found = _collection(session, self._limits, self._refusal)
        if self._request:
            try:
                changes = _changes(session, self._request)
                found = dataclasses.replace(found, request=dict(self._request), changes=changes)
            except ScheduleError as error:
                found = dataclasses.replace(found, refusal=str(error))
        found.write(self._target)
        return True


class Submitter(Guest):
    """Hands the collected run over to the queue."""

    def __init__(
        self,
        home: Home,
        order: Order,
        request: Request,
        limits: Mapping[str, Any],
        wait: bool,
    ) -> None:
        self._home = home
        self._order = order
        self._request = request
        self._limits = limits
        self._wait = wait
        self._exit_code: int | None = None
        self._record: Mapping[str, Any] | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Have the last line say "412 scheduled"."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not self._wait:
            reporter.stats.setdefault("scheduled", [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Hand it over instead of running it."""
        if _collection_failed(session):
            return None  # pytest says so
        if not session.items:
            return True
        bystanders.leave_cache(session.config)  # the job knows what failed
        bystanders.excuse(session.config, shows_the_run=self._wait)
        try:
            wanted = dataclasses.asdict(self._request)
            request = changed(self._request, _changes(session, wanted))
            receipt = submission.submit(
                self._home, self._order, request, _collection(session, self._limits)
            )
        except ScheduleError as error:
            raise pytest.UsageError(str(error)) from None
        self._tell(session, receipt)
        if self._wait:
            self._wait_for(session, receipt.job.job_id)
        return True

    def _tell(self, session: pytest.Session, receipt: Receipt) -> None:
        quiet = getattr(session.config.option, "verbose", 0) < 0  # of the terminal reporter
        lines = rendering.receipt_lines(receipt, quiet=quiet)
        _print(session.config, ["", *lines] if not quiet else lines)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not self._wait:
            reporter.stats["scheduled"] = list(session.items)

    def _wait_for(self, session: pytest.Session, job_id: str) -> None:
        from pytest_valor_schedule.awaiting import Awaiting

        session.testsfailed = 0  # the tests of the job count, as in a direct run
        awaiting = Awaiting(session, self._home, job_id)
        try:
            self._record = awaiting.run()
        except ScheduleError as error:
            raise pytest.UsageError(str(error)) from None
        self._exit_code = rendering.exit_code(self._record)
        awaiting.end()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what the outcomes of the tests alone do not tell."""
        record = self._record
        if record is None:
            return
        output = self._home.output(record["job_id"])
        for line in bystanders.coverage(files.tail(output, _LOOKED_AT_BYTES)):
            terminalreporter.write_line(rendering.plain(line))
        more = record["summary"].get("flaky") or record.get("explanation")
        if more or record.get("outcome") not in _TOLD_BY_TESTS:
            terminalreporter.section("valor-schedule")
            for line in (*rendering.status_lines(record), rendering.log_line(record)):
                terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End with the exit code of the run, where it was waited for."""
        if self._exit_code is not None:
            session.exitstatus = self._exit_code


def terminal_order(config: pytest.Config, environment: Mapping[str, str]) -> Order:
    """Return what the terminal of this pytest asked for."""
    given = [str(argument) for argument in config.invocation_params.args]
    arguments = specification.without_schedule_flags(given)
    return Order(
        specification=shlex.join(("pytest", *arguments)),
        launcher=specification.invocation(executable, orig_argv, given),
        arguments=arguments,
        cwd=str(config.invocation_params.dir),
        environment=job_environment(environment),
        umask=current_umask(),
    )


def _collection(
    session: pytest.Session, limits: Mapping[str, Any], refusal: str | None = None
) -> Collection:
    option = session.config.option
    if getattr(option, "stepwise", False):  # which takes what comes before a failure as passed
        limits = {**limits, "order": "collected"}
    return Collection(
        **limits,
        chosen_by_cache=any(getattr(option, name, False) for name in _CHOOSE_BY_CACHE),
        nodeids=tuple(dict.fromkeys(item.nodeid for item in session.items)),
        random_seed=_random_seed(option),
        junit_path=_junit_path(session.config),
        measures_coverage=bool(getattr(option, "cov_source", None)),
        rootdir=str(session.config.rootpath),
        interpreter=executable,
        refusal=refusal,
    )


def _junit_path(config: pytest.Config) -> str | None:
    """Return where the run is to be reported, as pytest understands --junit-xml."""
    named = config.stash[JUNIT_PATH]
    if not named:
        return None
    path = os.path.expanduser(os.path.expandvars(named))  # noqa: PTH111  # it never raises
    return str(config.invocation_params.dir / path)


def _random_seed(option: object) -> int | None:
    """Return the seed of pytest-randomly, so that each run of the job has the one shown here."""
    seed = getattr(option, "randomly_seed", None)
    return seed if isinstance(seed, int) else None


def _collection_failed(session: pytest.Session) -> bool:
    return bool(session.testsfailed) and not session.config.option.continue_on_collection_errors


def _changes(session: pytest.Session, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hooks of the project want to be different."""
    hook = session.config.hook.pytest_valor_schedule_submit
    told = {**request, "test_count": len(session.items)}
    found = hook(config=session.config, request=MappingProxyType(told))
    wrong = next((each for each in found if not isinstance(each, Mapping)), None)
    if wrong is not None:
        raise InvalidRequestError(
            f"pytest_valor_schedule_submit returned {wrong!r:.80}, but must return a mapping, or "
            "None to change nothing."
        )
    return {name: value for each in reversed(found) for name, value in each.items()}


def _print(config: pytest.Config, lines: list[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    write = print if reporter is None else reporter.write_line
    for line in lines:
        write(line)
