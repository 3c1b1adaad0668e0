"""Count in a job's controller what workers skip, or fail to collect, for each module.

Every worker reports it, so xdist passes on what is the same once. Of several modules that are
skipped at one place for one reason, as by a helper, it counts one, where pytest counts each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True, slots=True)
class _OfModule:
    """Stands for the `longrepr` of a report while xdist compares it with others."""

    nodeid: str
    text: str
    longrepr: Any = dataclasses.field(compare=False)


class CollectReports:
    """Has xdist tell the reports of different modules apart."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_from_serializable(self) -> Generator[None, Any, Any]:
        """Give a report what is equal for the same module in another worker only."""
        report = yield
        if isinstance(report, pytest.CollectReport):
            key: Any = _OfModule(report.nodeid, str(report.longrepr), report.longrepr)
            report.longrepr = key
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Have the report as it was before anybody sees it."""
        if isinstance(report.longrepr, _OfModule):
            report.longrepr = report.longrepr.longrepr
