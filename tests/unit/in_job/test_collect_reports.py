"""Recognise equal reports of the collection."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_valor_schedule.in_job.collect_reports import CollectReports


@pytest.mark.parametrize("longrepr", [("why.py", 2, "not here"), "broken"])
def test_reports_are_the_same_of_one_module_only(longrepr: Any) -> None:
    """Of two workers one is passed on, of two modules both, each as it was."""
    plugin, seen = CollectReports(), list[Any]()
    for nodeid in ("test_a.py", "test_a.py", "test_b.py"):
        report = pytest.CollectReport(nodeid, "skipped", longrepr, [])
        taking = plugin.pytest_report_from_serializable()
        next(taking)
        with pytest.raises(StopIteration):
            taking.send(report)
        if report.longrepr not in seen:
            seen.append(report.longrepr)
            plugin.pytest_collectreport(report)
            assert report.longrepr == longrepr
    assert len(seen) == 2
