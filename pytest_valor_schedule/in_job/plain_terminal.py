"""Print in a job's controller what a pytest without workers prints, for whoever asked for none."""

from __future__ import annotations

import types
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from pytest_valor_schedule.compat import other_plugins, xdist_workers
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.record import reports

_DESELECTED = types.SimpleNamespace(nodeid="")
"""Stands for a test in the statistics, where only their number is known."""


class PlainTerminal:
    """Leaves out what pytest-xdist adds, and adds what only its workers know."""

    def __init__(self, config: pytest.Config, run_config: RunConfig) -> None:
        self._config = config
        self._run_config = run_config
        self._ids: Sequence[str] | None = None
        self._has_collection = False

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def _is_pytests_own(self) -> bool:
        """Whether the terminal is not that of another plugin, such as pytest-sugar."""
        return type(self._reporter).__module__ == "_pytest.terminal"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Let xdist not tell of its workers, nor pytest of each test that begins.

        With several workers there would be two lines for each test, in turns.
        """
        xdist_workers.print_no_status(self._config)
        if self._is_pytests_own:
            other_plugins.exclude(self._config, "pytest_runtest_logstart", [self._reporter])

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Print what pytest prints before it collects."""
        reporter = self._reporter
        if reporter is not None and reporter.verbosity >= (0 if reporter.isatty else 1):
            reporter.write("collecting ... ", flush=True, bold=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Print what pytest prints when it has collected; the first worker tells it."""
        if self._ids is None and self._reporter is not None:
            self._ids = ids
            if not self._has_collection:
                self._print_collection(self._reporter, len(ids))
            _begin_progress(self._reporter)

    def leave_collection(self) -> None:
        """Print nothing of the collection, which pytest itself has printed already."""
        self._has_collection = True

    def _print_collection(self, reporter: Any, selected: int) -> None:
        deselected = self._run_config.deselected
        if deselected:
            reporter.stats.setdefault("deselected", []).extend([_DESELECTED] * deselected)
        if reporter.verbosity >= 0:
            line = _collection_line(reporter.stats, selected, deselected)
            if reporter.isatty:
                reporter.rewrite(line, bold=True, erase=True)
                reporter.write("\n")
            else:
                reporter.write_line(line)
        for line in self._run_config.collection_lines:
            reporter.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take away in which worker a test ran, which a report without workers does not say."""
        vars(report).pop("node", None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> Generator[None, Any, Any]:
        """Have reports as they were, where pytest sends less of them."""
        sent = dict(data)
        report = yield
        if report is not None:
            reports.restore(report, sent)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """End as pytest ends by -x, --maxfail or --stepwise, not as its controller does."""
        try:
            return (yield)
        except KeyboardInterrupt as interrupt:
            if not xdist_workers.is_stop(interrupt):
                raise
            if session.shouldfail:
                raise session.Failed(str(session.shouldfail)) from None
            raise session.Interrupted(str(interrupt)) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Have the summary in the order of collection, with a line before it."""
        if self._is_pytests_own and self._reporter.verbosity == 0:
            self._reporter.currentfspath = self._reporter.currentfspath or -2  # a line has begun
        place = {nodeid: number for number, nodeid in enumerate(self._ids or ())}
        for entries in getattr(self._reporter, "stats", {}).values():
            entries.sort(key=lambda entry: place.get(getattr(entry, "nodeid", None) or "", -1))


def _begin_progress(reporter: Any) -> None:
    if reporter.verbosity == 0 and not getattr(reporter, "showfspath", True):
        reporter.write_line("")  # where pytest begins the line of a file


def _collection_line(stats: dict[str, list[Any]], selected: int, deselected: int) -> str:
    """Return the line of `TerminalReporter.report_collect`."""
    total = selected + deselected
    parts = [f"collected {total} item{'' if total == 1 else 's'}"]
    if errors := len(stats.get("error", ())):
        parts.append(f"{errors} error{'' if errors == 1 else 's'}")
    parts += [f"{deselected} deselected"] if deselected else []
    parts += [f"{skipped} skipped"] if (skipped := len(stats.get("skipped", ()))) else []
    parts += [f"{selected} selected"] if deselected else []
    return " / ".join(parts)
