"""What a pytest does that runs no test itself: it hands over what it has collected."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from sys import executable, orig_argv
from types import MappingProxyType
from typing import Any

import pytest

from pytest_valor_schedule.client import submit
from pytest_valor_schedule.client.collect import Collection
from pytest_valor_schedule.client.submit import Receipt
from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.model import command_line
from pytest_valor_schedule.model.run_options import RunOptions, apply_changes
from pytest_valor_schedule.model.run_request import RunRequest, current_umask, job_environment
from pytest_valor_schedule.plugin.held_output import HeldStreams
from pytest_valor_schedule.text import render

HELD = pytest.StashKey[HeldStreams]()
"""What this pytest has printed so far, where the job is to be seen instead."""
_CHOOSE_BY_CACHE = ("lf", "failedfirst", "stepwise")


SHOWS_WORKERS = pytest.StashKey[bool]()
"""Whether workers were asked for, and are to be seen; here none is started."""


class Guest:
    """What a pytest has that runs no test itself."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self._limits = limits
        self._deselected = 0
        self._lines: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count what the job will not run."""
        self._deselected += len(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_collectionfinish(self) -> Generator[None, Any, Any]:
        """Remember what plugins say of the collection, for whoever sees the job."""
        said = yield
        for each in reversed(said):  # as pytest prints them
            self._lines += [each] if isinstance(each, str) else list(each or ())
        return said

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """End a session in which all went well without whoever would take it for the run."""
        result = yield
        if session.items and not _collection_failed(session):
            terminal = session.config.pluginmanager.get_plugin("terminalreporter")
            other_plugins.run_without_others(session.config, keep=self._seers(terminal))
        return result

    def _seers(self, terminal: object) -> tuple[object, ...]:
        """Return the plugins that see the end of this session."""
        return (self, terminal)

    def _collection(self, session: pytest.Session, **more: Any) -> Collection:
        option = session.config.option
        limits = dict(self._limits)
        if getattr(option, "stepwise", False):  # which takes what comes before a failure as passed
            limits |= {"order": "collected", "most_workers": 1}
        return Collection(
            **limits,
            chosen_by_cache=any(getattr(option, name, False) for name in _CHOOSE_BY_CACHE),
            nodeids=tuple(dict.fromkeys(item.nodeid for item in session.items)),
            random_seed=_random_seed(option),
            junit_path=_junit_path(session.config, getattr(option, "xmlpath", None)),
            measures_coverage=bool(getattr(option, "cov_source", None)),
            rootdir=str(session.config.rootpath),
            interpreter=executable,
            shows_workers=session.config.stash[SHOWS_WORKERS],
            deselected=self._deselected,
            collection_lines=tuple(self._lines),
            **more,
        )


class CollectPlugin(Guest):
    """Writes down what was collected."""

    def __init__(
        self,
        target: Path,
        refusal: str | None,
        limits: Mapping[str, Any],
        request: Mapping[str, Any],
    ) -> None:
        super().__init__(limits)
        self._target = target
        self._request = request
        self._refusal = refusal

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Write it down instead of running it."""
        if _collection_failed(session):
            return None  # pytest says so
        found = self._collection(session, refusal=self._refusal)
        if self._request:
            try:
                changes = _changes(session, self._request)
                found = dataclasses.replace(found, request=dict(self._request), changes=changes)
            except ScheduleError as error:
                found = dataclasses.replace(found, refusal=str(error))
        found.write(self._target)
        return True


class SubmitPlugin(Guest):
    """Hands the collected run over to the queue."""

    def __init__(
        self,
        home: Home,
        order: RunRequest,
        request: RunOptions,
        limits: Mapping[str, Any],
        wait: bool,
    ) -> None:
        super().__init__(limits)
        self._home = home
        self._order = order
        self._request = request
        self._wait = wait
        self._exit_code: int | None = None

    def _seers(self, terminal: object) -> tuple[object, ...]:
        return (self,) if self._wait else (self, terminal)  # who waits sees the job's own

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
        try:
            self._submit(session)
        except ScheduleError as error:
            raise pytest.UsageError(str(error)) from None
        return True

    def _submit(self, session: pytest.Session) -> None:
        from pytest_valor_schedule.plugin import show_run
        from pytest_valor_schedule.text import screen

        config = session.config
        size = screen.terminal_size() if self._wait else None
        found = self._collection(session, terminal_size=size)
        request = apply_changes(self._request, _changes(session, dataclasses.asdict(self._request)))
        receipt = submit.submit(self._home, self._order, request, found)
        if not self._wait:
            self._tell(session, receipt)
            return
        if (held := config.stash.get(HELD, None)) is not None:
            held.discard()
        quiet = getattr(config.option, "verbose", 0) < 0
        self._exit_code = show_run.Awaiting(self._home, receipt, quiet=quiet).run()

    def _tell(self, session: pytest.Session, receipt: Receipt) -> None:
        quiet = getattr(session.config.option, "verbose", 0) < 0  # of the terminal reporter
        lines = render.scheduled_lines(receipt.shown_answer(), quiet=quiet)
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


def terminal_order(config: pytest.Config, environment: Mapping[str, str]) -> RunRequest:
    """Return what the terminal of this pytest asked for."""
    given = [str(argument) for argument in config.invocation_params.args]
    arguments = command_line.without_schedule_flags(given)
    return RunRequest(
        specification=shlex.join(("pytest", *arguments)),
        launcher=command_line.invocation(executable, orig_argv, given),
        arguments=arguments,
        cwd=str(config.invocation_params.dir),
        environment=job_environment(environment),
        umask=current_umask(),
    )


def _junit_path(config: pytest.Config, named: str | None) -> str | None:
    """Return where the run is to be reported, as pytest understands --junit-xml."""
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
