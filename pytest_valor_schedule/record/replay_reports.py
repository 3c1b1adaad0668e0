"""Make the reports and warnings that a replay shows, of events."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_valor_schedule.record.reports import location_of, restore, restore_tuples


def report_of(
    config: pytest.Config, event: Mapping[str, Any], first: Mapping[str, Any]
) -> pytest.TestReport:
    """Return the report that an event tells of.

    Args:
        config: That of the pytest which is to show it.
        event: One of the kind "report".
        first: That of the first phase of the same test.
    """
    nodeid = str(event.get("id"))
    if serial := event.get("serial"):
        with contextlib.suppress(Exception):  # of another pytest, or of a plugin that is not here
            report = _from_serial(config, {**serial, "nodeid": nodeid})
            if report is not None:
                return report
    return _plain(nodeid, event, restore_tuples(first.get("serial") or first))


def _from_serial(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport | None:
    data = restore_tuples(data)
    report: pytest.TestReport | None = config.hook.pytest_report_from_serializable(
        config=config, data=data
    )
    if report is not None:
        restore(report, data)
    return report


def _plain(nodeid: str, event: Mapping[str, Any], first: Mapping[str, Any]) -> pytest.TestReport:
    place = first.get("place") or first.get("location")
    report = pytest.TestReport(
        nodeid=nodeid,
        location=tuple(place) if isinstance(place, list | tuple) else location_of(nodeid),
        keywords=dict.fromkeys(first.get("keywords") or (), 1),
        outcome=event.get("outcome", "passed"),
        longrepr=event.get("longrepr") or event.get("message"),
        when=event.get("phase", "call"),
        sections=[(str(name), str(text)) for name, text in event.get("sections", ())],
        duration=float(event.get("duration") or 0.0),
    )
    start = event.get("start")
    if isinstance(start, int | float) and hasattr(report, "start"):
        report.start, report.stop = start, start + report.duration
    if event.get("xfail"):
        report.wasxfail = str(event.get("message") or "")  # as pytest's own skipping plugin does
    return report


def with_crash(longrepr: str, message: str, path: str, line: int) -> dict[str, Any]:
    """Return a traceback of plain text and its last message as pytest serialises one."""
    entry = {"type": "ReprEntryNative", "data": {"lines": [f"{longrepr}\n"]}}
    return {
        "reprcrash": {"path": path, "lineno": line, "message": message},
        "reprtraceback": {"reprentries": [entry], "extraline": None, "style": "native"},
        "sections": [],
        "chain": None,
    }


def warning_of(event: Mapping[str, Any]) -> warnings.WarningMessage:
    """Return the warning that `warning_event` wrote down."""
    category = _category(str(event.get("category")))
    return warnings.WarningMessage(
        message=str(event.get("text")),
        category=category,
        filename=str(event.get("filename")),
        lineno=int(event.get("line") or 0),
    )


def _category(name: str) -> type[Warning]:
    """Return a class of warnings by its name; one of that name where it is not imported here."""
    module, _, short = name.rpartition(".")
    category = getattr(sys.modules.get(module), short, None)
    if isinstance(category, type) and issubclass(category, Warning):
        return category
    return type(short or "Warning", (UserWarning,), {})
