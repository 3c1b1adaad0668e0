"""A pytest plugin (`-p plain_outcomes`) that writes down what pytest itself thinks of each test.

It shares no code with the package, so that tests/tools/parity.py compares two independent accounts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_ORDER = ("failed", "error", "xfailed", "xpassed", "skipped", "passed")


class PlainOutcomes:
    """Keeps the gravest category that the terminal would count for each test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: dict[str, set[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        category = self._config.hook.pytest_report_teststatus(report=report, config=self._config)[0]
        if category in _ORDER:
            self._seen.setdefault(report.nodeid, set()).add(category)

    def pytest_sessionfinish(self) -> None:
        gravest = {
            nodeid: min(categories, key=_ORDER.index) for nodeid, categories in self._seen.items()
        }
        Path(os.environ["PLAIN_OUTCOMES"]).write_text(json.dumps(gravest))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(PlainOutcomes(config))
