"""Collect the tests of a job, and write down what was collected."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from sys import executable
from types import MappingProxyType
from typing import Any

import pytest

from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.errors import InvalidRequestError, ScheduleError
from pytest_valor_schedule.model.collection import Collection

_CHOOSE_BY_CACHE = ("lf", "failedfirst", "stepwise")


class Collects:
    """Collect the tests of a job.

    Args:
        limits: What the settings say of the job, by field of `Collection`.
    """

    _runs_here = False
    """Whether this very session may run them."""

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
        results = yield
        for each in reversed(results):  # as pytest prints them
            self._lines += [each] if isinstance(each, str) else list(each or ())
        return results

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """End a session in which all went well without whoever would take it for the run."""
        result = yield
        if session.items and not self._runs_here and not collection_failed(session):
            terminal = session.config.pluginmanager.get_plugin("terminalreporter")
            other_plugins.run_without_others(session.config, keep=self._observers(terminal))
        return result

    def _observers(self, terminal: object) -> tuple[object, ...]:
        """Return the plugins that see the end of this session."""
        return (self, terminal)

    def collection(self, session: pytest.Session, **more: Any) -> Collection:
        """Return what a session has collected, with more of its fields."""
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
            deselected=self._deselected,
            collection_lines=tuple(self._lines),
            **more,
        )


class CollectPlugin(Collects):
    """Write down what was collected.

    Args:
        target: The file.
        refusal: Why this run cannot be scheduled, or None.
        limits: What the settings say of the job.
        options: The fields of `RunOptions`; none where the settings cannot be used.
    """

    def __init__(
        self,
        target: Path,
        refusal: str | None,
        limits: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(limits)
        self._target = target
        self._refusal = refusal
        self._options = options

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Write it down instead of running it."""
        if collection_failed(session):
            return None  # pytest says so
        self._write(session)
        return True

    def _write(self, session: pytest.Session) -> None:
        fields: dict[str, Any] = {"refusal": self._refusal}
        if self._options:
            try:
                fields |= {"changes": changes_of(session, self._options), "request": self._options}
            except ScheduleError as error:
                fields["refusal"] = str(error)
        self.collection(session, **fields).write(self._target)


def _junit_path(config: pytest.Config, text: str | None) -> str | None:
    """Return where the run is to be reported, as pytest understands --junit-xml."""
    if not text:
        return None
    path = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  # it never raises
    return str(config.invocation_params.dir / path)


def _random_seed(option: object) -> int | None:
    """Return the seed of pytest-randomly, so that each run of the job has the one shown here."""
    seed = getattr(option, "randomly_seed", None)
    return seed if isinstance(seed, int) else None


def collection_failed(session: pytest.Session) -> bool:
    """Return whether pytest will not run what it has collected."""
    return bool(session.testsfailed) and not session.config.option.continue_on_collection_errors


def changes_of(session: pytest.Session, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hooks of the project want to be different."""
    hook = session.config.hook.pytest_valor_schedule_submit
    request = MappingProxyType({**options, "test_count": len(session.items)})
    results = hook(config=session.config, request=request)
    wrong = next((each for each in results if not isinstance(each, Mapping)), None)
    if wrong is not None:
        raise InvalidRequestError(
            f"pytest_valor_schedule_submit returned {wrong!r:.80}, but must return a mapping, or "
            "None to change nothing."
        )
    return {name: value for each in reversed(results) for name, value in each.items()}
